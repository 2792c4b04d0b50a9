package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// The directive does its work wherever a site may have it, logged or not.
func TestDirectivesAround(t *testing.T) {
	places := map[string]string{
		"bare":          "%s",
		"handle":        "handle {\n%s\n}",
		"handle-path":   "handle /echo* {\n%s\n}\nhandle {\nrespond 404\n}",
		"route":         "route {\nheader +X-Route yes\n%s\n}",
		"encode":        "encode gzip\n%s",
		"handle-errors": "%s\nhandle_errors {\nheader X-Handled {err.status_code}\nrespond \"handled: {err.message}\" {err.status_code}\n}",
		"all": "encode gzip\nroute {\nhandle {\n%s\n}\n}\n" +
			"handle_errors {\nheader X-Handled {err.status_code}\nrespond \"handled: {err.message}\" {err.status_code}\n}",
	}
	w := world.New(t)
	var sites []world.Site
	for place, around := range places {
		for _, log := range []bool{false, true} {
			sites = append(sites, world.Site{Name: fmt.Sprintf("%s-%t", place, log), Around: around, Log: log})
		}
	}
	w.Start(world.Configuration{Sites: sites})

	body := world.RandomBytes(100 * world.KiB)
	for _, s := range sites {
		t.Run(s.Name, func(t *testing.T) {
			w := w.Within(t)
			w.SeedExpired(s.Name)
			post := world.Request{Site: s.Name, Tenant: s.Name, ID: s.Name, Body: body, Chunked: true}
			w.Check(w.Delivered(post, w.Must(post)))
			w.Settled(s.Name)

			unknown := world.Request{Site: s.Name, Tenant: "nobody", ID: s.Name + " unknown"}
			res := w.Expect(unknown, 403)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "tenant_unknown" {
				t.Errorf("unknown tenant: code %q", code)
			}
			if strings.Contains(s.Around, "handle_errors") {
				if res.Header.Get("X-Handled") != "403" || !bytes.HasPrefix(res.Content, []byte("handled")) {
					t.Errorf("handle_errors was not asked: %v %q", res.Header, res.Content)
				}
			}
			if len(w.API.Attempts(unknown.ID)) > 0 {
				t.Error("the upstream was asked for an unknown tenant")
			}
			if s.Log {
				logged(w, s.Name, post.ID, 200)
				logged(w, s.Name, unknown.ID, 403)
			}
		})
	}
}

// logged waits until the access log of a site has a line for request id, and
// checks that it is one, with the status that the app saw.
func logged(w *world.World, siteName, id string, status int) {
	w.Helper()
	w.Eventually(func() error {
		if found := accessLog(w, siteName)[id]; len(found) != 1 || found[0].Status != status {
			return fmt.Errorf("%s is in the access log with %v, not once with %d", id, found, status)
		}
		return nil
	})
}

// logLine is a line of an access log: the status of the answer, and the upgrade that the
// client wished for.
type logLine struct {
	Status  int
	Upgrade string
}

// accessLog returns the lines in the access log of a site, by the ID of the request.
func accessLog(w *world.World, siteName string) map[string][]logLine {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(w.Caddy.Dir, siteName+"-access.log"))
	w.Check(err)
	lines := make(map[string][]logLine)
	for line := range bytes.Lines(text) {
		var entry struct {
			Status  int
			Request struct{ Headers map[string][]string }
		}
		w.Check(json.Unmarshal(line, &entry))
		id := strings.Join(entry.Request.Headers["X-Request-Id"], ",")
		lines[id] = append(lines[id], logLine{entry.Status, strings.Join(entry.Request.Headers["Upgrade"], ",")})
	}
	return lines
}
