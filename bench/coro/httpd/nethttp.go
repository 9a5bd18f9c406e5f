// SPDX-License-Identifier: Apache-2.0
//
// The answer of examples/httpd.c by Go's net/http: what a Go program would be written with.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	l, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", l.Addr())
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "seep")
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "Hello from a coroutine\n")
	})
	fmt.Fprintln(os.Stderr, http.Serve(l, nil))
}
