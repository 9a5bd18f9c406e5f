// SPDX-License-Identifier: Apache-2.0
//
// Go's runtime in the loads of bench/coro.plan: see seep.c.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

var wg sync.WaitGroup

func per(begin time.Time, n int) float64 {
	return float64(time.Since(begin).Nanoseconds()) / float64(n)
}

// As in seep.c: one of them times the turns from its second one on.
func yields(count, many int) float64 {
	var each int
	var first time.Time
	var took time.Duration
	for round := 0; round < 2; round++ {
		each = 3
		if round > 0 {
			each = count / many
		}
		wg.Add(many)
		for i := 0; i < many; i++ {
			go func(clock bool) {
				runtime.Gosched()
				if clock {
					first = time.Now()
				}
				for k := 1; k < each; k++ {
					runtime.Gosched()
				}
				if clock {
					took = time.Since(first)
				}
				wg.Done()
			}(i == 0)
		}
		wg.Wait()
	}
	return float64(took.Nanoseconds()) / float64((each-1)*many)
}

func channel(count int, apart bool) float64 {
	ping, pong := make(chan int), make(chan int)
	if apart {
		runtime.LockOSThread()
	}
	go func() {
		if apart {
			runtime.LockOSThread()
		}
		for v := range ping {
			pong <- v
		}
	}()
	begin := time.Now()
	for i := 0; i < count; i++ {
		ping <- i
		<-pong
	}
	return per(begin, count)
}

func buffered(count int) float64 {
	c := make(chan int, 128)
	go func() {
		for i := 0; i < count; i++ {
			c <- i
		}
		close(c)
	}()
	begin := time.Now()
	for range c {
	}
	return per(begin, count)
}

func selectReady(count int) float64 {
	var c [4]chan int
	for i := range c {
		c[i] = make(chan int, 1)
	}
	begin := time.Now()
	for i := 0; i < count; i++ {
		c[i%4] <- i
		select {
		case <-c[0]:
		case <-c[1]:
		case <-c[2]:
		case <-c[3]:
		}
	}
	return per(begin, count)
}

func selectWait(count int) float64 {
	var c [4]chan int
	pong := make(chan int)
	for i := range c {
		c[i] = make(chan int)
	}
	go func() {
		for i := 0; i < count; i++ {
			c[i%4] <- i
			<-pong
		}
	}()
	begin := time.Now()
	for i := 0; i < count; i++ {
		var v int
		select {
		case v = <-c[0]:
		case v = <-c[1]:
		case v = <-c[2]:
		case v = <-c[3]:
		}
		pong <- v
	}
	return per(begin, count)
}

func spawn(count int) float64 {
	begin := time.Now()
	for i := 0; i < count; i += 100 {
		wg.Add(100)
		for k := 0; k < 100; k++ {
			go func() { wg.Done() }()
		}
		wg.Wait()
	}
	return per(begin, count)
}

func mutex(count int) float64 {
	var m sync.Mutex
	begin := time.Now()
	for i := 0; i < count; i++ {
		m.Lock()
		m.Unlock()
	}
	return per(begin, count)
}

func timer(count int) float64 {
	begin := time.Now()
	for i := 0; i < count; i++ {
		t := time.NewTimer(time.Hour)
		t.Stop()
	}
	return per(begin, count)
}

func statusKiB(field string) int {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

func parkAll(count int) (ns, bytes float64) {
	c := make(chan int)
	before := statusKiB("VmRSS:") + statusKiB("VmPTE:")
	begin := time.Now()
	for i := 0; i < count; i++ {
		go func() { <-c }()
		if i%100 == 99 {
			runtime.Gosched()
		}
	}
	runtime.Gosched()
	ns = per(begin, count)
	return ns, float64(statusKiB("VmRSS:")+statusKiB("VmPTE:")-before) * 1024 / float64(count)
}

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	n, _ := strconv.Atoi(os.Args[2])
	loads := map[string]func() float64{
		"yield": func() float64 { return yields(n, 2) }, "many": func() float64 { return yields(n, 100000) },
		"chan": func() float64 { return channel(n, false) }, "chan-apart": func() float64 { return channel(n, true) },
		"buffered":     func() float64 { return buffered(n) },
		"select-ready": func() float64 { return selectReady(n) }, "select-wait": func() float64 { return selectWait(n) },
		"spawn": func() float64 { return spawn(n) }, "mutex": func() float64 { return mutex(n) },
		"timer":  func() float64 { return timer(n) },
		"park":   func() float64 { ns, _ := parkAll(n); return ns },
		"parked": func() float64 { _, bytes := parkAll(n); return bytes },
	}
	load, ok := loads[os.Args[1]]
	if !ok {
		os.Exit(2)
	}
	metric := "ns"
	if os.Args[1] == "parked" {
		metric = "bytes"
	}
	fmt.Printf("metric %s %.3f\n", metric, load())
}
