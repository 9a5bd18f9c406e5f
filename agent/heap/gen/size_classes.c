/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints $(BUILD)/gen/size_classes.inc: the size classes and the tables to look them up.
 *
 * The rule is the one of Go's runtime/mksizeclasses.go: candidates rise in steps of a granule that grows with the size;
 * a span has the fewest pages of which at most an eighth is left over; a candidate whose span holds as many
 * objects as the class before it replaces that class; and a class takes what its span has left over, in
 * steps of 128 bytes.
 *
 * Two look-ups are printed: one for collected memory (every class) and one for the C ABI, where every block is aligned to 16
 * and so never of a class that is not a multiple of 16. */
#include <stdio.h>
#include <stdlib.h>

enum {
    PAGE = 8192,
    MAX_SMALL = 32768,
    FINE_MAX = 1024,
    FINE_STEP = 8,
    COARSE_STEP = 128,
    ABI_ALIGN = 16,
    MAX_CLASSES = 256,
    COUNT_BITS = 24
};

struct class
{
    int size, pages;
};

static struct class table[MAX_CLASSES] = {{0, 0}}; /* class 0: large objects */
static int count = 1;

static int power_of_two(int x)
{
    return (x & (x - 1)) == 0;
}

/* Granule of the candidates that follow a power of two. */
static int granule_after(int size, int granule)
{
    if (size >= 2048) return 256;
    if (size >= 128) return size / 8;
    if (size >= 32) return 16;
    return granule;
}

static int pages_for(int size)
{
    int bytes = PAGE;
    while (bytes % size > bytes / 8) bytes += PAGE;
    return bytes / PAGE;
}

static void make_classes(void)
{
    int granule = 8;
    for (int size = granule; size <= MAX_SMALL; size += granule) {
        if (power_of_two(size)) granule = granule_after(size, granule);
        int pages = pages_for(size), bytes = pages * PAGE;
        struct class *last = &table[count - 1];
        if (count > 1 && last->pages == pages && bytes / last->size == bytes / size) {
            last->size = size;
            continue;
        }
        if (count == MAX_CLASSES) abort();
        table[count++] = (struct class){size, pages};
    }
    for (int c = 1; c < count; c++) {
        int bytes = table[c].pages * PAGE, each = bytes / (bytes / table[c].size) / COARSE_STEP * COARSE_STEP;
        if (each > table[c].size) table[c].size = each;
    }
}

/* Pages of a span as the heap makes it: a multiple of the rule's, towards 64 KiB (128 KiB for sizes over 8 KiB), with at
 * most 1024 objects. The rule's spans bound waste; larger ones bound how often a cache runs dry. Memory of a span is
 * carved as it is needed, so a larger span is not more memory. */
static int heap_pages(const struct class *c)
{
    int goal = c->size > PAGE ? 16 : 8, pages = c->pages;
    while (pages + c->pages <= goal && (pages + c->pages) * PAGE / c->size <= 1024) pages += c->pages;
    return pages;
}

/* The smallest class for a request, of those that are multiples of align. */
static int class_of(int size, int align)
{
    for (int c = 1; c < count; c++) {
        if (table[c].size >= size && table[c].size % align == 0) return c;
    }
    abort();
}

static void print_lookup(const char *name, int from, int to, int step, int align)
{
    printf("static const unsigned char %s[%d] = {", name, (to - from) / step + 1);
    for (int s = from; s <= to; s += step) printf("%d,", class_of(s, align));
    printf("};\n");
}

int main(void)
{
    make_classes();
    printf("/* Made by agent/heap/gen/size_classes.c. Class, size, span bytes, objects, tail waste, greatest waste:\n");
    for (int c = 1; c < count; c++) {
        int bytes = table[c].pages * PAGE, n = bytes / table[c].size, tail = bytes - n * table[c].size;
        int smallest = table[c - 1].size + 1;
        double waste = 100.0 * (tail + (double)n * (table[c].size - smallest)) / bytes;
        printf(" * %2d %6d %6d %5d %5d %6.2f%%\n", c, table[c].size, bytes, n, tail, waste);
    }
    printf(" */\n");
    printf("enum { SIZE_CLASSES = %d, SMALL_MAX_BYTES = %d, FINE_MAX_BYTES = %d };\n", count, MAX_SMALL, FINE_MAX);
    printf("static const unsigned short class_to_size[%d] = {", count);
    for (int c = 0; c < count; c++) printf("%d,", table[c].size);
    printf("};\nstatic const unsigned char class_to_pages[%d] = {", count);
    for (int c = 0; c < count; c++) printf("%d,", table[c].pages);
    printf("};\nstatic const unsigned char class_to_span_pages[%d] = {", count);
    for (int c = 0; c < count; c++) printf("%d,", c ? heap_pages(&table[c]) : 0);
    /* c = ceil(2^64 / size): offset / size is the high word of offset * c, and size divides offset iff the low word is
     * below c (Lemire, Kaser, Kurz 2019), for offsets below 2^32. */
    printf("};\nstatic const unsigned long long class_to_inverse[%d] = {0,", count);
    for (int c = 1; c < count; c++) printf("%lluull,", ~0ull / (unsigned long long)table[c].size + 1);
    printf("};\nenum { COUNT_BITS = %d };\nstatic const unsigned long long class_to_cost[%d] = {0,", COUNT_BITS, count);
    for (int c = 1; c < count; c++) printf("%lluull,", ((unsigned long long)table[c].size << COUNT_BITS) - 1);
    printf("};\n");
    print_lookup("size_to_class8", 0, FINE_MAX, FINE_STEP, 1);
    print_lookup("size_to_class128", FINE_MAX, MAX_SMALL, COARSE_STEP, 1);
    print_lookup("abi_to_class", 0, FINE_MAX, 1, ABI_ALIGN); /* of each size: the fast path has no time to divide */
    print_lookup("abi_to_class128", FINE_MAX, MAX_SMALL, COARSE_STEP, ABI_ALIGN);
    return 0;
}
