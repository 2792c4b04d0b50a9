package proxy

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// client is a program that posts a file, and prints the answer and, in a line of its
// own, its status.
type client func(w *world.World, address, file string, header ...string) ([]byte, error)

func curl(options ...string) client {
	return func(w *world.World, address, file string, header ...string) ([]byte, error) {
		arguments := append([]string{"-sS", "--data-binary", "@" + file, "-w", "\n%{http_code}"}, options...)
		for i := 0; i < len(header); i += 2 {
			arguments = append(arguments, "-H", header[i]+": "+header[i+1])
		}
		return programs.Run(w.Ctx, "curl", append(arguments, address)...)
	}
}

func java(options ...string) client {
	return func(w *world.World, address, file string, header ...string) ([]byte, error) {
		arguments := append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}, options...)
		arguments = append(arguments, programs.Source("Post.java"), address, file)
		return programs.Run(w.Ctx, "java", append(arguments, header...)...)
	}
}

// posts sends r by a client.
func posts(w *world.World, c client, r world.Request) world.Response {
	w.Helper()
	w.File("upload", string(r.Body))
	output, err := c(w, "http://"+w.Caddy.Address+"/echo", w.Files+"/upload", "X-Tenant-ID", r.Tenant, upstream.RequestID, r.ID)
	w.Check(err)
	end := bytes.LastIndexByte(output, '\n')
	status, err := strconv.Atoi(string(output[end+1:]))
	w.Check(err)
	return world.Response{Response: &http.Response{StatusCode: status, Header: make(http.Header)}, Content: output[:end]}
}

// The JDK's client, as it is by default, wishes for HTTP/2 in each request without TLS,
// and so does curl if it is asked to. Their requests have bodies like any others, which
// are sent again, and the wish goes no further.
func TestUploadsOfClientsThatWishForHTTP2AreReplayed(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Sites: []world.Site{{Name: anyHost, Log: true}}})
	for name, c := range map[string]client{"java": java(), "curl": curl("--http2")} {
		t.Run(name, func(t *testing.T) {
			w := w.Within(t)
			w.SeedExpired(name)
			r := world.Request{Tenant: name, ID: name, Body: world.RandomBytes(2 * world.MiB)}
			w.Check(w.Delivered(r, posts(w, c, r)))
			attempts := w.API.Attempts(r.ID)
			if len(attempts) != 2 {
				t.Errorf("%d attempts", len(attempts))
			}
			for _, a := range attempts {
				if a.Proto != "HTTP/1.1" || len(a.Header["Upgrade"])+len(a.Header["Http2-Settings"])+len(a.Header["Connection"]) > 0 {
					t.Errorf("the upstream saw %s with %v", a.Proto, a.Header)
				}
			}
			logged(w, anyHost, r.ID, http.StatusOK)
			if wish := accessLog(w, anyHost)[r.ID][0].Upgrade; !strings.EqualFold(wish, "h2c") {
				t.Errorf("the client wished for %q", wish)
			}
			w.Settled(name)
		})
	}
}

// Clients that wait to be asked for a body are, by whichever of Caddy and the upstream, and
// what they then send is sent again.
func TestUploadsOfClientsThatExpectToBeAskedAreReplayed(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Sites: []world.Site{{Name: anyHost}}})
	for name, c := range map[string]client{
		"java": java("-Dexpect=true"),
		"curl": curl("-H", "Expect: 100-continue", "--expect100-timeout", "30"), // in seconds
	} {
		t.Run(name, func(t *testing.T) {
			w := w.Within(t)
			ctx, cancel := context.WithTimeout(w.Ctx, 20*time.Second)
			defer cancel()
			w.Ctx = ctx
			w.SeedExpired(name)
			r := world.Request{Tenant: name, ID: name, Body: world.RandomBytes(2 * world.MiB)}
			w.Check(w.Delivered(r, posts(w, c, r)))
			if got := len(w.API.Attempts(r.ID)); got != 2 {
				t.Errorf("%d attempts", got)
			}
			w.Settled(name)
		})
	}
}
