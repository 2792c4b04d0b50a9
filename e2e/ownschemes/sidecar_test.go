package ownschemes

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
)

// sidecar is a Caddy with schemes of another module.
type sidecar struct {
	*testing.T
	ctx     context.Context // the deadline of the whole test
	secrets *canary.Collector
	caddy   *process.Caddy
	client  *http.Client
}

// newSidecar prepares one.
func newSidecar(t *testing.T) *sidecar {
	t.Helper()
	path := program(t) // its time is not the test's
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	s := &sidecar{T: t, ctx: ctx, secrets: new(canary.Collector), client: &http.Client{Transport: transport}}
	var err error
	s.caddy, err = process.NewCaddy(path, t.TempDir())
	s.check(err)
	return s
}

// localStore is a store for tests that need no replicas.
func (s *sidecar) localStore() string {
	return fmt.Sprintf("store local %s {\nkey_file %s\n}", filepath.Join(s.caddy.Dir, "credentials.db"), filepath.Join(s.caddy.Dir, "key"))
}

// start starts it with global options of upstream_auth and the lines of its one site. At
// the end of the test all that it leaves behind is searched for secrets.
func (s *sidecar) start(options, site string) {
	s.Helper()
	s.check(s.caddy.Start(s.ctx, fmt.Sprintf("{\nadmin %s\ndebug\nupstream_auth {\n%s\n}\n}\nhttp:// {\nbind fd/3\n%s\n}\n", s.caddy.Admin, options, site)))
	s.Cleanup(s.end)
}

func (s *sidecar) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	traces, err := s.caddy.Traces(ctx)
	if err != nil {
		s.Errorf("collecting what caddy leaves behind: %v", err)
	}
	if err := s.caddy.Stop(ctx); err != nil {
		s.Errorf("stopping caddy: %v", err)
	}
	traces["output at the end"] = s.caddy.Output()
	for source, text := range traces {
		for _, leak := range s.secrets.Scan(source, text) {
			s.Errorf("leak: %s", leak)
		}
	}
	if bytes.Contains(s.caddy.Output(), []byte("panic")) || s.Failed() {
		s.Errorf("caddy wrote:\n%s", s.caddy.Output())
	}
}

// put stores a credential.
func (s *sidecar) put(provider, tenant, document string) error {
	_, said, err := s.caddy.Command(s.ctx, document, "put", "--provider", provider, "--tenant", tenant)
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// answer is an answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request for a tenant. A nil body is none.
func (s *sidecar) send(method, path, tenant string, body io.Reader, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(s.ctx, method, "http://"+s.caddy.Address+path, body)
	if err != nil {
		return answer{}, err
	}
	maps.Copy(req.Header, header) // as they are spelled
	req.Header.Set("X-Tenant-ID", tenant)
	if header["Trailer"] != nil {
		delete(req.Header, "Trailer")
		req.Trailer = http.Header{header["Trailer"][0]: {"forged"}}
	}
	res, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text)}, err
}

// must is send that ends the test unless there is an answer.
func (s *sidecar) must(method, path, tenant string, body io.Reader, header http.Header) answer {
	s.Helper()
	a, err := s.send(method, path, tenant, body, header)
	s.check(err)
	return a
}

func (s *sidecar) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// eventually polls until condition returns nil, and fails with its last error after a
// while.
func (s *sidecar) eventually(condition func() error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.Fatalf("not in time: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// named returns the fields of header that some server may take for that name.
func named(header http.Header, name string) (values []string) {
	fold := strings.NewReplacer("-", "_", ".", "_", "~", "_")
	for key := range header {
		if strings.EqualFold(fold.Replace(key), fold.Replace(name)) {
			values = append(values, header[key]...)
		}
	}
	return values
}
