// A small service for the tests of seep import: memory that grows, and goroutines that wait for different things.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

var kept [][]byte

//go:noinline
func fill(n int) {
	for i := 0; i < n; i++ {
		kept = append(kept, make([]byte, 4096))
	}
}

//go:noinline
func sendForever(c chan int) { c <- 1 }

func write(name, kind string, debug int) {
	f, err := os.Create(name)
	if err != nil {
		panic(err)
	}
	pprof.Lookup(kind).WriteTo(f, debug)
	f.Close()
}

func main() {
	runtime.MemProfileRate = 1
	fill(100)
	runtime.GC()
	write("heap1.pb.gz", "heap", 0)
	var mu sync.Mutex
	mu.Lock()
	for i := 0; i < 7; i++ {
		go sendForever(make(chan int))
	}
	for i := 0; i < 3; i++ {
		go func() { mu.Lock() }()
	}
	go func() { time.Sleep(time.Hour) }()
	go func() { select {} }()
	time.Sleep(100 * time.Millisecond)
	fill(200)
	runtime.GC()
	write("heap2.pb.gz", "heap", 0)
	write("goroutine.pb.gz", "goroutine", 0)
	write("goroutine.txt", "goroutine", 2)
	fmt.Println("done")
}
