package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	w := newWorld(t)
	var sites []site
	for place, around := range places {
		for _, log := range []bool{false, true} {
			sites = append(sites, site{name: fmt.Sprintf("%s-%t", place, log), around: around, log: log})
		}
	}
	w.start(configuration{sites: sites})

	body := randomBytes(100 * kib)
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			w := w.within(t)
			w.seedExpired(s.name)
			post := request{site: s.name, tenant: s.name, id: s.name, body: body, chunked: true}
			w.check(w.delivered(post, w.must(post)))
			w.settled(s.name)

			unknown := request{site: s.name, tenant: "nobody", id: s.name + " unknown"}
			res := w.expect(unknown, 403)
			if code := res.Header.Get("Upstream-Auth-Error"); code != "tenant_unknown" {
				t.Errorf("unknown tenant: code %q", code)
			}
			if strings.Contains(s.around, "handle_errors") {
				if res.Header.Get("X-Handled") != "403" || !bytes.HasPrefix(res.body, []byte("handled")) {
					t.Errorf("handle_errors was not asked: %v %q", res.Header, res.body)
				}
			}
			if len(w.api.Attempts(unknown.id)) > 0 {
				t.Error("the upstream was asked for an unknown tenant")
			}
			if s.log {
				w.logged(s.name, post.id, 200)
				w.logged(s.name, unknown.id, 403)
			}
		})
	}
}

// logged waits until the access log of a site has a line for request id, and
// checks that it is one, with the status that the app saw.
func (w *world) logged(siteName, id string, status int) {
	w.Helper()
	w.eventually(func() error {
		if found := w.accessLog(siteName)[id]; len(found) != 1 || found[0] != status {
			return fmt.Errorf("%s is in the access log with %v, not once with %d", id, found, status)
		}
		return nil
	})
}

// accessLog returns the status codes in the access log of a site, by the ID of the
// request.
func (w *world) accessLog(siteName string) map[string][]int {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(w.caddy.Dir, siteName+"-access.log"))
	w.check(err)
	statuses := make(map[string][]int)
	for line := range bytes.Lines(text) {
		var entry struct {
			Status  int
			Request struct{ Headers map[string][]string }
		}
		w.check(json.Unmarshal(line, &entry))
		id := strings.Join(entry.Request.Headers["X-Request-Id"], ",")
		statuses[id] = append(statuses[id], entry.Status)
	}
	return statuses
}
