package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// force makes requests as fast as they are answered, of each kind by so many connections.
func force(address string, kinds []string, connections int, token string, duration time.Duration) Result {
	result := Result{Statuses: make(map[int]int)}
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(duration)
	for _, name := range kinds {
		next := kind(name, token)
		for range connections {
			all.Go(func() {
				c := &conn{address: address}
				defer c.close()
				for time.Now().Before(end) {
					status := c.do(next(c))
					mu.Lock()
					if status == 0 {
						result.Closed++
					} else {
						result.Statuses[status]++
					}
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	return result
}

// kind returns what makes the next request of a kind for a connection, which has the last
// answer.
func kind(name, token string) func(*conn) []byte {
	const head = "%s %s HTTP/1.1\r\nHost: %s\r\nX-Tenant-ID: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
	request := func(method, path, tenant, body string) []byte {
		return fmt.Appendf(nil, head, method, path, "localhost", tenant, token, len(body), body)
	}
	always := func(r []byte) func(*conn) []byte { return func(*conn) []byte { return r } }
	switch name {
	case "requests":
		return always(request("GET", "/", "noisy", ""))
	case "uploads":
		return always(request("POST", "/", "noisy", strings.Repeat("u", 1<<20)))
	case "401s":
		return always(request("GET", "/rejected", "noisy", ""))
	case "unknown names":
		var n atomic.Int64
		return func(*conn) []byte { return request("GET", "/", fmt.Sprint("nobody-", n.Add(1)), "") }
	case "PATCHes":
		return always(request("PATCH", "/self", "noisy", `{"credentials":`+document(1<<20-8<<10)+`}`))
	case "connects":
		mint := request("POST", "/self/connect-link", "noisy", "{}")
		return func(c *conn) []byte {
			var link struct{ URL string }
			if json.Unmarshal(c.body.Bytes(), &link) != nil || link.URL == "" {
				return mint
			}
			c.body.Reset()
			u, err := url.Parse(link.URL)
			if err != nil {
				log.Fatal(err)
			}
			return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\r\n", u.RequestURI(), u.Host)
		}
	}
	log.Fatalf("there is no force %q", name)
	return nil
}

// document is a credential of so many bytes, with as many values as one may have.
func document(size int) string {
	var b bytes.Buffer
	b.WriteString(`{"access_token":"access-token-of-noisy","refresh_token":"refresh-token-of-noisy","n":[""`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `,"%0110d"`, i)
	}
	b.WriteString("]}")
	return b.String()
}
