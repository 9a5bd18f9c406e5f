/* SPDX-License-Identifier: Apache-2.0
 *
 * Resource and mixed deadlocks after the kernels of GoBench (Yuan et al., CGO 2021), reduced and written anew: locks taken twice, in both
 * orders, or held over a communication. Named as there, project and pull request. */
#include "tests/corpus/corpus.h"

/* cockroach1462: a stopper waits for tasks, one of which sends to a loop that has left. */
static void stopped_task(struct k *k)
{
    after(k, 1);
    put(k->a);
    co_wg_done(&k->wg);
}
static void await_tasks(struct k *k)
{
    co_wg_wait(&k->wg);
}
static void cockroach1462(struct k *k)
{
    k->a = chan(k->fixed ? 1 : 0);
    co_wg_add(&k->wg, 1);
    GO(stopped_task);
    GO(await_tasks);
    step(k);
}

/* etcd5509: an early return leaves a read lock behind. */
static void find_endpoint(struct k *k)
{
    co_rwmutex_rlock(&k->rw);
    if (k->fixed) co_rwmutex_runlock(&k->rw);
    step(k);
}
static void close_client(struct k *k)
{
    after(k, 1);
    co_rwmutex_lock(&k->rw);
    co_rwmutex_unlock(&k->rw);
}
static void etcd5509(struct k *k)
{
    GO(find_endpoint);
    GO(close_client);
}

/* etcd6873: the receiver needs the lock under which the sender's side waits. */
static void coalesce(struct k *k)
{
    co_mutex_lock(&k->m);
    step(k);
    get(k->a);
    co_mutex_unlock(&k->m);
}
static void broadcast(struct k *k)
{
    after(k, 1);
    if (k->fixed) co_close(k->a);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
    if (!k->fixed) co_close(k->a);
}
static void etcd6873(struct k *k)
{
    k->a = chan(0);
    GO(coalesce);
    GO(broadcast);
}

/* grpc1460: the transport waits for data with its lock held, the writer wants the lock first. */
static void keepalive(struct k *k)
{
    co_mutex_lock(&k->m);
    if (k->fixed) co_mutex_unlock(&k->m);
    step(k);
    get(k->a);
    if (!k->fixed) co_mutex_unlock(&k->m);
}
static void new_stream(struct k *k)
{
    after(k, 1);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
    co_close(k->a);
}
static void grpc1460(struct k *k)
{
    k->a = chan(0);
    GO(keepalive);
    GO(new_stream);
}

/* grpc3017: a timer's function returns without unlocking. */
static void remove_subconn(struct k *k)
{
    co_mutex_lock(&k->m);
    if (k->fixed) co_mutex_unlock(&k->m);
    step(k);
}
static void new_subconn(struct k *k)
{
    after(k, 1);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
    step(k);
    if (__atomic_load_n(&k->step, __ATOMIC_ACQUIRE) == 3) co_close(k->a);
}
static void await_subconns(struct k *k)
{
    get(k->a);
}
static void drop_timer(void *t)
{
    co_timer_free(t);
}
static void grpc3017(struct k *k)
{
    k->a = chan(0);
    co_timer *t = note(co_after_func(MS, (co_fn *)(void (*)(void *))remove_subconn, k), drop_timer);
    GO(new_subconn);
    GO(new_subconn);
    GO(await_subconns);
    after(k, 1);
    if (!k->fixed) co_timer_free(t);
}

/* grpc795, moby17176, moby36114: a function locks and calls one that locks too. */
static void stop_server(struct k *k)
{
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
}
static void graceful_stop(struct k *k)
{
    co_mutex_lock(&k->m);
    if (k->fixed) co_mutex_unlock(&k->m);
    stop_server(k);
    if (!k->fixed) co_mutex_unlock(&k->m);
}
static void grpc795(struct k *k)
{
    GO(graceful_stop);
}
static void delete_device(struct k *k)
{
    co_mutex_lock(&k->m);
    struct co_case c[] = {{.ch = k->a, .kind = CO_RECV}, {.ch = k->b, .kind = CO_RECV}};
    co_select(c, 2);
    if (!k->fixed) co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
}
static void moby17176(struct k *k)
{
    k->a = after_ns(MS);
    k->b = chan(0);
    GO(delete_device);
}
static void hot_add(struct k *k)
{
    co_mutex_lock(&k->m);
    if (!k->fixed) co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
}
static void moby36114(struct k *k)
{
    GO(hot_add);
}

/* hugo3251: read lock, write lock of another, read lock again. */
static void render_page(struct k *k)
{
    co_rwmutex_rlock(&k->rw);
    step(k);
    after(k, 2);
    settle();
    if (k->fixed) co_rwmutex_runlock(&k->rw);
    co_rwmutex_rlock(&k->rw);
    co_rwmutex_runlock(&k->rw);
    if (!k->fixed) co_rwmutex_runlock(&k->rw);
    co_wg_done(&k->wg);
}
static void add_language(struct k *k)
{
    after(k, 1);
    step(k);
    co_rwmutex_lock(&k->rw);
    co_rwmutex_unlock(&k->rw);
    co_wg_done(&k->wg);
}
static void await_render(struct k *k)
{
    co_wg_wait(&k->wg);
}
static void hugo3251(struct k *k)
{
    co_wg_add(&k->wg, 2);
    GO(render_page);
    GO(add_language);
    GO(await_render);
}

/* hugo5379: a page's content is initialized under the lock that its shortcodes take; the site waits. */
static void init_content(struct k *k)
{
    co_mutex_lock(&k->m);
    if (k->fixed) co_mutex_unlock(&k->m);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
    co_wg_done(&k->wg);
}
static void render_site(struct k *k)
{
    co_wg_wait(&k->wg);
}
static void hugo5379(struct k *k)
{
    co_wg_add(&k->wg, 1);
    GO(init_content);
    GO(render_site);
}

/* istio16224: an event handler sends under the lock that the receiver takes first. */
static void handle_event(struct k *k)
{
    co_mutex_lock(&k->m);
    step(k);
    put(k->a);
    co_mutex_unlock(&k->m);
}
static void await_events(struct k *k)
{
    after(k, 1);
    if (k->fixed) get(k->a);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
    if (!k->fixed) get(k->a);
}
static void istio16224(struct k *k)
{
    k->a = chan(0);
    GO(handle_event);
    GO(await_events);
}

/* kubernetes13135, moby4951: two locks in both orders. */
static void cacher_update(struct k *k)
{
    co_mutex_lock(&k->m);
    step(k);
    after(k, k->fixed ? 1 : 2);
    co_mutex_lock(&k->n);
    co_mutex_unlock(&k->n);
    co_mutex_unlock(&k->m);
}
static void cacher_stop(struct k *k)
{
    after(k, 1);
    co_mutex *first = k->fixed ? &k->m : &k->n, *second = k->fixed ? &k->n : &k->m;
    co_mutex_lock(first);
    step(k);
    co_mutex_lock(second);
    co_mutex_unlock(second);
    co_mutex_unlock(first);
}
static void kubernetes13135(struct k *k)
{
    GO(cacher_update);
    GO(cacher_stop);
}
static void set_remove(struct k *k)
{
    co_mutex_lock(&k->m);
    step(k);
    after(k, k->fixed ? 1 : 2);
    co_mutex_lock(&k->n);
    co_mutex_unlock(&k->n);
    co_mutex_unlock(&k->m);
}
static void set_deactivate(struct k *k)
{
    after(k, 1);
    co_mutex *first = k->fixed ? &k->m : &k->n, *second = k->fixed ? &k->n : &k->m;
    co_mutex_lock(first);
    step(k);
    co_mutex_lock(second);
    co_mutex_unlock(second);
    co_mutex_unlock(first);
}
static void moby4951(struct k *k)
{
    GO(set_remove);
    GO(set_deactivate);
}

/* kubernetes1321: a distributor sends under its lock to a watcher that stops itself under that lock. */
static void distribute(struct k *k)
{
    co_mutex_lock(&k->m);
    step(k);
    if (!k->fixed)
        put(k->a);
    else
        co_try_send(k->a, &(int){1});
    co_mutex_unlock(&k->m);
}
static void stop_watching(struct k *k)
{
    after(k, 1);
    co_mutex_lock(&k->m);
    co_close(k->a);
    co_mutex_unlock(&k->m);
}
static void kubernetes1321(struct k *k)
{
    k->a = chan(0);
    GO(distribute);
    GO(stop_watching);
}

/* kubernetes30872: two locks in both orders, and one more who wants the first. */
static void federated_stop(struct k *k)
{
    co_rwmutex_lock(&k->rw);
    step(k);
    after(k, k->fixed ? 1 : 2);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
    co_rwmutex_unlock(&k->rw);
}
static void federated_add(struct k *k)
{
    after(k, 1);
    if (k->fixed) co_rwmutex_lock(&k->rw);
    co_mutex_lock(&k->m);
    step(k);
    if (!k->fixed) co_rwmutex_lock(&k->rw);
    co_rwmutex_unlock(&k->rw);
    co_mutex_unlock(&k->m);
}
static void federated_list(struct k *k)
{
    after(k, 2);
    settle();
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
}
static void kubernetes30872(struct k *k)
{
    GO(federated_stop);
    GO(federated_add);
    GO(federated_list);
}

/* kubernetes62464: read lock, a writer in between, read lock again. */
static void get_state(struct k *k)
{
    co_rwmutex_rlock(&k->rw);
    step(k);
    after(k, 2);
    settle();
    if (!k->fixed) co_rwmutex_rlock(&k->rw);
    if (!k->fixed) co_rwmutex_runlock(&k->rw);
    co_rwmutex_runlock(&k->rw);
}
static void set_state(struct k *k)
{
    after(k, 1);
    step(k);
    co_rwmutex_lock(&k->rw);
    co_rwmutex_unlock(&k->rw);
}
static void kubernetes62464(struct k *k)
{
    GO(get_state);
    GO(set_state);
}

/* kubernetes6632: a frame is written under the lock that the closing side takes before it drains. */
static void write_frame(struct k *k)
{
    co_mutex_lock(&k->m);
    step(k);
    put(k->a);
    co_mutex_unlock(&k->m);
}
static void close_connection(struct k *k)
{
    after(k, 1);
    if (k->fixed) get(k->a);
    co_mutex_lock(&k->m);
    co_mutex_unlock(&k->m);
}
static void kubernetes6632(struct k *k)
{
    k->a = chan(0);
    GO(write_frame);
    GO(close_connection);
}

/* moby25384: more added to a waitgroup than there are workers. */
static void load_plugin(struct k *k)
{
    co_wg_done(&k->wg);
}
static void await_plugins(struct k *k)
{
    co_wg_wait(&k->wg);
}
static void moby25384(struct k *k)
{
    co_wg_add(&k->wg, k->fixed ? 1 : 2);
    GO(load_plugin);
    GO(await_plugins);
}

/* syncthing4829: a read lock under one's own write lock. */
static void clear_addresses(struct k *k)
{
    co_rwmutex_lock(&k->rw);
    if (!k->fixed) co_rwmutex_rlock(&k->rw);
    co_rwmutex_unlock(&k->rw);
}
static void syncthing4829(struct k *k)
{
    GO(clear_addresses);
}

#define LOCK  "stuck-lock"
#define CYCLE "stuck-lock|deadlock-cycle"
#define RING  "deadlock-cycle"
static const struct corpus_case cases[] = {
    {"cockroach1462",
     cockroach1462,
     {{"stopped_task", "chan send", "stuck-send", 1}, {"await_tasks", "waitgroup wait", "stuck-wait", 1}}},
    {"etcd5509", etcd5509, {{"close_client", "rwmutex write lock", LOCK, 1}}},
    {"etcd6873", etcd6873, {{"coalesce", "chan receive", "stuck-recv", 1}, {"broadcast", "mutex lock", CYCLE, 1}}},
    {"grpc1460", grpc1460, {{"keepalive", "chan receive", "stuck-recv", 1}, {"new_stream", "mutex lock", CYCLE, 1}}},
    {"grpc3017",
     grpc3017,
     {{"new_subconn", "mutex lock", LOCK, 2}, {"await_subconns", "chan receive", "stuck-recv", 1}}},
    {"grpc795", grpc795, {{"stop_server", "mutex lock", CYCLE, 1}}},
    {"hugo3251",
     hugo3251,
     {{"render_page", "rwmutex read lock", CYCLE, 1},
      {"add_language", "rwmutex write lock", CYCLE, 1},
      {"await_render", "waitgroup wait", "stuck-wait", 1}}},
    {"hugo5379",
     hugo5379,
     {{"init_content", "mutex lock", CYCLE, 1}, {"render_site", "waitgroup wait", "stuck-wait", 1}}},
    {"istio16224",
     istio16224,
     {{"handle_event", "chan send", "stuck-send", 1}, {"await_events", "mutex lock", CYCLE, 1}}},
    {"kubernetes13135", kubernetes13135, {{"cacher_update|cacher_stop", "mutex lock", RING, 2}}},
    {"kubernetes1321",
     kubernetes1321,
     {{"distribute", "chan send", "stuck-send", 1}, {"stop_watching", "mutex lock", CYCLE, 1}}},
    {"kubernetes30872",
     kubernetes30872,
     {{"federated_stop|federated_add", "mutex lock|rwmutex write lock", RING, 2},
      {"federated_list", "mutex lock", CYCLE, 1}}},
    {"kubernetes62464",
     kubernetes62464,
     {{"get_state", "rwmutex read lock", CYCLE, 1}, {"set_state", "rwmutex write lock", CYCLE, 1}}},
    {"kubernetes6632",
     kubernetes6632,
     {{"write_frame", "chan send", "stuck-send", 1}, {"close_connection", "mutex lock", CYCLE, 1}}},
    {"moby17176", moby17176, {{"delete_device", "mutex lock", CYCLE, 1}}},
    {"moby25384", moby25384, {{"await_plugins", "waitgroup wait", "stuck-wait", 1}}},
    {"moby36114", moby36114, {{"hot_add", "mutex lock", CYCLE, 1}}},
    {"moby4951", moby4951, {{"set_remove|set_deactivate", "mutex lock", RING, 2}}},
    {"syncthing4829", syncthing4829, {{"clear_addresses", "rwmutex read lock", CYCLE, 1}}},
};
CORPUS_MAIN(cases)
