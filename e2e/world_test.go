package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/authserver"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/canary"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/process"
	"github.com/upstreamauth/caddy-upstream-auth/e2e/upstream"
)

// soughtTokens is how many tokens of a world are looked for where none may be, the first
// ones. A soak issues more than can be looked for.
const soughtTokens = 5000

// world is all that a test has around Caddy, and Caddy itself once started.
type world struct {
	*testing.T
	ctx     context.Context // the deadline of the whole test
	secrets *canary.Collector
	vault   *vault
	tap     *tap // what Caddy takes for Vault
	auth    *authserver.Server
	authURL string
	keys    *apiKeys
	api     *upstream.API
	apiURL  string
	files   string // directory of the secrets that Caddy is given
	caddy   *process.Caddy
	running configuration // that it was started with
	clients map[string]*client
}

// newWorld makes a world without a Caddy.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, authserver.Config{})
}

// newWorldWith is newWorld with an authorization server of another kind.
func newWorldWith(t *testing.T, config authserver.Config) *world {
	t.Helper()
	return newWorldFor(t, config, 3*time.Minute)
}

// newWorldFor is newWorldWith for a test that takes another time than most.
func newWorldFor(t *testing.T, config authserver.Config, limit time.Duration) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	w := &world{T: t, ctx: ctx, secrets: new(canary.Collector), vault: startVault(t), files: t.TempDir()}

	config.ClientID = "sidecar"
	config.ClientSecret = "cl13nt/s3cret+&=% ü" + rand.Text()
	var issued atomic.Int64
	config.Issued = func(token string) {
		if issued.Add(1) <= soughtTokens {
			w.secrets.Add("a token", token)
		}
	}
	w.secrets.Add("the client secret", config.ClientSecret)
	w.secrets.Add("the root token", w.vault.RootToken)
	w.secrets.Add("the unseal key", w.vault.UnsealKey)

	var err error
	w.auth, err = authserver.New(config)
	w.check(err)
	w.authURL = w.serve(httptest.NewServer(w.auth))
	w.keys = new(apiKeys)
	w.api = &upstream.API{Subject: w.auth.Subject, Owner: w.keys.owner}
	w.apiURL = w.serve(upstream.Serve(w.api))
	w.tap = newTap(w.vault.Address, w.secrets)
	w.serve(w.tap.Server)

	w.file("client-secret", config.ClientSecret+"\n")
	role, secret, err := w.vault.allowLogin(ctx)
	w.check(err)
	w.secrets.Add("the role ID", role)
	w.secrets.Add("the secret ID", secret)
	w.file("role-id", role+"\n")
	w.file("secret-id", secret+"\n")
	return w
}

// within is the same world in a subtest.
func (w *world) within(t *testing.T) *world {
	sub := *w
	sub.T = t
	return &sub
}

// serve closes a server at the end of the test.
func (w *world) serve(s *httptest.Server) (url string) {
	w.Cleanup(s.Close)
	return s.URL
}

// file writes a file for Caddy to read.
func (w *world) file(name, content string) {
	w.Helper()
	w.check(os.WriteFile(filepath.Join(w.files, name), []byte(content), 0o600))
}

// read returns what file wrote.
func (w *world) read(name string) string {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(w.files, name))
	w.check(err)
	return strings.TrimSpace(string(content))
}

// start starts Caddy with a configuration. At the end of the test Caddy is
// stopped and all that it leaves behind is searched for secrets.
func (w *world) start(c configuration) {
	w.Helper()
	w.prepareCaddy()
	w.running = c
	w.check(w.caddy.Start(w.ctx, w.caddyfile(c)))
	w.Cleanup(w.end)
	w.clients = map[string]*client{"HTTP/1.1": newClient(w.caddy.Address, false), "h2c": newClient(w.caddy.Address, true)}
}

func (w *world) prepareCaddy() {
	w.Helper()
	path, err := caddyProgram.Path(runDir)
	w.check(err)
	w.caddy, err = process.NewCaddy(path, w.TempDir())
	w.check(err)
}

func (w *world) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, c := range w.clients {
		c.close()
	}
	select {
	case <-w.caddy.Exited(): // as the test wanted
	default:
		w.searchTraces(ctx)
		if err := w.caddy.Stop(ctx); err != nil {
			w.Errorf("stopping caddy: %v", err)
		}
	}
	w.searchJournals()
	output := w.caddy.Output()
	for _, word := range []string{"DATA RACE", "panic"} {
		if at := bytes.Index(output, []byte(word)); at >= 0 {
			w.Errorf("caddy wrote:\n%s", output[at:min(len(output), at+8000)])
		}
	}
	for _, leak := range w.secrets.Scan("output at the end", output) {
		w.Errorf("leak: %s", leak)
	}
	if w.Failed() {
		w.Logf("the last that caddy wrote:\n%s", output[max(0, len(output)-10000):])
		if dir := os.Getenv("E2E_LOGS"); dir != "" {
			w.check(os.WriteFile(filepath.Join(dir, strings.ReplaceAll(w.Name(), "/", "_")+".log"), output, 0o600))
		}
	}
}

// searchTraces looks for secrets in all that Caddy has written and tells.
func (w *world) searchTraces(ctx context.Context) map[string][]byte {
	traces, err := w.caddy.Traces(ctx)
	if err != nil {
		w.Errorf("collecting what caddy leaves behind: %v", err)
	}
	for source, text := range traces {
		for i, leak := range w.secrets.Scan(source, text) {
			if i == 5 {
				w.Errorf("and more in %s", source)
				break
			}
			w.Errorf("leak: %s: %q", leak, around(text, leak.Offset))
		}
	}
	return traces
}

// around returns the text before a leak, which tells where it comes from.
func around(text []byte, offset int) []byte { return text[max(0, offset-200):offset] }

// check ends the test if err is not nil.
func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// eventually polls until condition returns nil, and fails with its last error
// after a while.
func (w *world) eventually(condition func() error) {
	w.Helper()
	w.soon(30*time.Second, condition)
}

// soon is eventually with a limit that the product promises.
func (w *world) soon(limit time.Duration, condition func() error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("not within %v: %v", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
