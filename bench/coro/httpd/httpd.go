// SPDX-License-Identifier: Apache-2.0
//
// examples/httpd.c in Go: a goroutine for each connection, the same parsing and the same bytes.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
)

func add(out []byte, status, body string, head, keep bool) []byte {
	closing := ""
	if !keep {
		closing = "Connection: close\r\n"
	}
	if head {
		return fmt.Appendf(out, "HTTP/1.1 %s\r\nServer: seep\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n", status, len(body), closing)
	}
	return fmt.Appendf(out, "HTTP/1.1 %s\r\nServer: seep\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), closing, body)
}

func hasHeader(headers []byte, name, value string) bool {
	for len(headers) > 0 {
		eol := bytes.IndexByte(headers, '\n')
		if eol < 0 {
			return false
		}
		if eol > len(name) && headers[len(name)] == ':' && strings.EqualFold(string(headers[:len(name)]), name) {
			v := bytes.TrimSpace(headers[len(name)+1 : eol])
			return len(v) >= len(value) && strings.EqualFold(string(v[:len(value)]), value)
		}
		headers = headers[eol+1:]
	}
	return false
}

func serve(out, text []byte) ([]byte, bool) {
	eol := bytes.IndexByte(text, '\n')
	words := bytes.SplitN(text[:eol], []byte(" "), 3)
	if len(words) < 2 {
		return add(out, "400 Bad Request", "bad request\n", false, false), false
	}
	head, keep := string(words[0]) == "HEAD", !hasHeader(text[eol+1:], "Connection", "close")
	if !head && string(words[0]) != "GET" {
		return add(out, "405 Method Not Allowed", "GET or HEAD\n", false, false), false
	}
	if string(words[1]) == "/" {
		return add(out, "200 OK", "Hello from a coroutine\n", head, keep), keep
	}
	return add(out, "404 Not Found", "not found\n", head, keep), keep
}

func connection(c net.Conn) {
	defer c.Close()
	in, have := make([]byte, 4096), 0
	var out []byte
	for open := true; open; {
		n, err := c.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		at := 0
		out = out[:0]
		for open {
			end := bytes.Index(in[at:have], []byte("\r\n\r\n"))
			if end < 0 {
				break
			}
			out, open = serve(out, in[at:at+end+4])
			at += end + 4
		}
		have = copy(in, in[at:have])
		if have == len(in) {
			return
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

func main() {
	l, err := net.Listen("tcp4", "127.0.0.1:"+os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", l.Addr())
	for {
		c, err := l.Accept()
		if err == nil {
			go connection(c)
		}
	}
}
