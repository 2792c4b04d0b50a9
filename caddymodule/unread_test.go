package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What is left of an upload that was answered before it was read is no request to the
// credentials API and to connecting either, where Caddy serves in full duplex.
func TestRestOfAnUploadIsNoRequestInFullDuplex(t *testing.T) {
	auth := newAuthServer(t)
	s := newSidecar(t, nil)
	s.file(t, "workspace", workspaceSecret)
	provider := auth.provider("billing", "authorization_url "+auth.URL+"/authorize")
	s.start(t, provider+"\n}\nservers {\nenable_full_duplex", `route {
		upstream_auth_api billing {
			token hs256 {
				secret_file `+s.path("workspace")+`
			}
			issuer workspace
		}
		upstream_auth_connect billing {
			redirect_uris `+s.url+`/oauth/callback
		}
	}`)
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n"
	body := strings.Repeat(smuggled, 1<<20/len(smuggled))
	for _, path := range []string{"/self", "/tenants/acme", "/oauth/connect", "/oauth/callback"} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", path, s.address, len(body), body)
		}()
		answers, _ := io.ReadAll(conn) // Caddy may have to reset the connection
		conn.Close()
		<-done
		if n := strings.Count(string(answers), "HTTP/1.1 "); n != 1 || strings.HasPrefix(string(answers), "HTTP/1.1 200") {
			t.Errorf("%s: %d answers: %.300q", path, n, answers)
		}
	}
}
