package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/programs"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// Servers that refuse an upload without reading it, and close, make the writing of it
// fail before their answer is read. No answer of gunicorn's and of Python's is lost, and
// all uploads are replayed. The JDK's server resets the connection while its answer is on
// the way, which can take it back: some may be lost, at most a tenth of those that a bare
// proxy loses.
//
// E2E_UPLOADS says how many there are; 16 are under way at a time.
func TestUploadsThatAreRefusedUnreadAreReplayed(t *testing.T) {
	uploads := 64
	if n := os.Getenv("E2E_UPLOADS"); n != "" {
		var err error
		if uploads, err = strconv.Atoi(n); err != nil {
			t.Fatal(err)
		}
	}
	for name, server := range map[string]struct {
		start       func(*testing.T) (address string)
		mayLoseSome bool
	}{
		"gunicorn":             {programs.StartGunicorn, false},
		"Python's http.server": {programs.StartPythonServer, false},
		"the JDK's HttpServer": {programs.StartJDKServer, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := world.NewFor(t, authserver.Config{}, 10*time.Minute)
			w.Start(world.Configuration{Quiet: true, Sites: besidePlain("http://" + server.start(t))})
			w.Seed("acme")
			lost := uploads - upload(w, "/upload", uploads, http.StatusOK)
			plain := uploads - upload(w, "/plain/upload", uploads, http.StatusUnauthorized)
			t.Logf("of %d uploads %d were not replayed; of as many, a bare proxy lost %d answers", uploads, lost, plain)
			if most := map[bool]int{true: plain / 10}[server.mayLoseSome]; lost > most {
				t.Errorf("%d of %d uploads were lost, at most %d may be", lost, uploads, most)
			}
		})
	}
}

// upload sends uploads of 2 to 9 MiB, and returns how many were answered with status.
func upload(w *world.World, path string, uploads, status int) (answered int) {
	w.Helper()
	client := &http.Transport{DialContext: dialPatiently, DisableKeepAlives: true}
	content := world.RandomBytes(9 * world.MiB)
	var count atomic.Int64
	turns := make(chan struct{}, 16)
	for i := range uploads {
		turns <- struct{}{}
		go func() {
			defer func() { <-turns }()
			r := world.Request{Path: path, Tenant: "acme", ID: fmt.Sprint(status, "-", i), Body: content[:2*world.MiB+i*7*world.MiB/uploads]}
			req, err := r.Build(w.Ctx)
			if err != nil {
				w.Error(err)
				return
			}
			req.URL.Host = w.Caddy.Address
			res, err := client.RoundTrip(req)
			if err != nil {
				w.Error(r.ID, err)
				return
			}
			answer, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil && res.StatusCode == http.StatusOK && string(answer) != upstream.DigestOf(r.Body).SHA256 {
				err = errors.New("another body was delivered")
			}
			if err != nil {
				w.Error(r.ID, err)
			}
			if res.StatusCode == status {
				count.Add(1)
			}
		}()
	}
	for range cap(turns) {
		turns <- struct{}{}
	}
	return int(count.Load())
}

// dialPatiently makes connections on which the answer is read although writing fails: what
// is counted is what the proxy loses, and not what the client does.
func dialPatiently(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return patientConn{conn}, err
}

type patientConn struct{ net.Conn }

func (c patientConn) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(b); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return 0, err
	}
	return len(b), nil
}
