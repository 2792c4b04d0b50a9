package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// What is left of an upload that was answered before it was read is no request: who may
// upload a file in one tenant's name must not be able to have another's request in it.
// The upstream does not read it, and closes the connection; or there is no such tenant.
func TestRestOfAnUnreadUploadIsNoRequest(t *testing.T) {
	for name, global := range map[string]string{
		"half duplex": "",
		"full duplex": "servers fd/3 {\nenable_full_duplex\n}",
	} {
		t.Run(name, func(t *testing.T) {
			w := world.New(t)
			w.Start(world.Configuration{Global: global, Sites: []world.Site{{Upstream: closesUnread(w)}}})
			w.Seed("acme")
			w.Seed("globex")
			const smuggled = "GET /smuggled HTTP/1.1\r\nHost: app\r\nX-Tenant-ID: globex\r\n\r\n"
			body := strings.Repeat(smuggled, world.MiB/len(smuggled))
			for i := range 20 {
				conn := dial(w)
				w.Check(conn.SetDeadline(time.Now().Add(30 * time.Second)))
				tenant := []string{"acme", "nobody"}[i%2]
				go func() {
					fmt.Fprintf(conn, "POST /upload HTTP/1.1\r\nHost: app\r\nX-Tenant-ID: %s\r\nContent-Length: %d\r\n\r\n%s", tenant, len(body), body)
				}()
				answers, _ := io.ReadAll(conn) // Caddy may have to reset the connection
				if n := strings.Count(string(answers), "HTTP/1.1 "); n != 1 {
					t.Errorf("one upload of %s got %d answers: %.1000q", tenant, n, answers)
				}
			}
		})
	}
}

// closesUnread starts an upstream that answers without reading a body, and closes.
func closesUnread(w *world.World) (address string) {
	w.Helper()
	listener, err := new(net.ListenConfig).Listen(w.Ctx, "tcp", "127.0.0.1:0")
	w.Check(err)
	context.AfterFunc(w.Ctx, func() { listener.Close() })
	w.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && req.URL.Path == "/smuggled" {
				w.Errorf("a request arrived that nobody made, as %s's", tenantOf(w, req))
			}
			fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			conn.Close()
		}
	}()
	return listener.Addr().String()
}
