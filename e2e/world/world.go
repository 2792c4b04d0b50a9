package world

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

// World is all that a test has around Caddy, and Caddy itself once started.
type World struct {
	*testing.T
	Ctx     context.Context // the deadline of the whole test
	Secrets *canary.Collector
	Vault   *Vault
	Tap     *Tap // what Caddy takes for Vault
	Auth    *authserver.Server
	AuthURL string
	keys    *apiKeys
	API     *upstream.API
	APIURL  string
	Files   string // directory of the secrets that Caddy is given
	Caddy   *process.Caddy
	Running Configuration // that it was started with
	Clients map[string]*Client
}

// New makes a world without a Caddy.
func New(t *testing.T) *World {
	t.Helper()
	return NewWith(t, authserver.Config{})
}

// NewWith is New with an authorization server of another kind.
func NewWith(t *testing.T, config authserver.Config) *World {
	t.Helper()
	return NewFor(t, config, 3*time.Minute)
}

// NewFor is NewWith for a test that takes another time than most.
func NewFor(t *testing.T, config authserver.Config, limit time.Duration) *World {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	w := &World{T: t, Ctx: ctx, Secrets: new(canary.Collector), Vault: startVault(t), Files: t.TempDir()}

	config.ClientID = "sidecar"
	config.ClientSecret = "cl13nt/s3cret+&=% ü" + rand.Text()
	var issued atomic.Int64
	config.Issued = func(token string) {
		if issued.Add(1) <= soughtTokens {
			w.Secrets.Add("a token", token)
		}
	}
	w.Secrets.Add("the client secret", config.ClientSecret)
	w.Secrets.Add("the root token", w.Vault.RootToken)
	w.Secrets.Add("the unseal key", w.Vault.UnsealKey)

	var err error
	w.Auth, err = authserver.New(config)
	w.Check(err)
	w.AuthURL = w.Serve(httptest.NewServer(w.Auth))
	w.keys = new(apiKeys)
	w.API = &upstream.API{Subject: w.Auth.Subject, Owner: w.keys.owner}
	w.APIURL = w.Serve(upstream.Serve(w.API))
	w.Tap = newTap(w.Vault.Address, w.Secrets)
	w.Serve(w.Tap.Server)

	w.File("client-secret", config.ClientSecret+"\n")
	role, secret, err := w.Vault.allowLogin(ctx)
	w.Check(err)
	w.Secrets.Add("the role ID", role)
	w.Secrets.Add("the secret ID", secret)
	w.File("role-id", role+"\n")
	w.File("secret-id", secret+"\n")
	return w
}

// Within is the same world in a subtest.
func (w *World) Within(t *testing.T) *World {
	sub := *w
	sub.T = t
	return &sub
}

// Serve closes a server at the end of the test.
func (w *World) Serve(s *httptest.Server) (url string) {
	w.Cleanup(s.Close)
	return s.URL
}

// File writes a file for Caddy to read.
func (w *World) File(name, content string) {
	w.Helper()
	w.Check(os.WriteFile(filepath.Join(w.Files, name), []byte(content), 0o600))
}

// Read returns what File wrote.
func (w *World) Read(name string) string {
	w.Helper()
	content, err := os.ReadFile(filepath.Join(w.Files, name))
	w.Check(err)
	return strings.TrimSpace(string(content))
}

// Start starts Caddy with a configuration. At the end of the test Caddy is
// stopped and all that it leaves behind is searched for secrets.
func (w *World) Start(c Configuration) {
	w.Helper()
	w.Running = c
	w.StartText(func(string) string { return w.Caddyfile(c) })
}

// StartText is Start with a Caddyfile as it is, made for the address of the administration
// endpoint.
func (w *World) StartText(caddyfile func(admin string) string, env ...string) {
	w.Helper()
	w.prepareCaddy()
	w.Check(w.Caddy.Start(w.Ctx, caddyfile(w.Caddy.Admin), env...))
	w.Cleanup(w.end)
	w.Clients = map[string]*Client{"HTTP/1.1": newClient(w.Caddy.Address, false), "h2c": newClient(w.Caddy.Address, true)}
}

func (w *World) prepareCaddy() {
	w.Helper()
	path, err := caddyPath()
	w.Check(err)
	w.Caddy, err = process.NewCaddy(path, w.TempDir())
	w.Check(err)
}

func (w *World) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, c := range w.Clients {
		c.close()
	}
	select {
	case <-w.Caddy.Exited(): // as the test wanted
	default:
		w.SearchTraces(ctx)
		if err := w.Caddy.Stop(ctx); err != nil {
			w.Errorf("stopping caddy: %v", err)
		}
	}
	w.searchJournals()
	output := w.Caddy.Output()
	for _, word := range []string{"DATA RACE", "panic"} {
		if at := bytes.Index(output, []byte(word)); at >= 0 {
			w.Errorf("caddy wrote:\n%s", output[at:min(len(output), at+8000)])
		}
	}
	for _, leak := range w.Secrets.Scan("output at the end", output) {
		w.Errorf("leak: %s", leak)
	}
	if w.Failed() {
		w.Logf("the last that caddy wrote:\n%s", output[max(0, len(output)-10000):])
		if dir := os.Getenv("E2E_LOGS"); dir != "" {
			w.Check(os.WriteFile(filepath.Join(dir, strings.ReplaceAll(w.Name(), "/", "_")+".log"), output, 0o600))
		}
	}
}

// SearchTraces looks for secrets in all that Caddy has written and tells.
func (w *World) SearchTraces(ctx context.Context) map[string][]byte {
	traces, err := w.Caddy.Traces(ctx)
	if err != nil {
		w.Errorf("collecting what caddy leaves behind: %v", err)
	}
	for source, text := range traces {
		for i, leak := range w.Secrets.Scan(source, text) {
			if i == 5 {
				w.Errorf("and more in %s", source)
				break
			}
			w.Errorf("leak: %s: %q", leak, Around(text, leak.Offset))
		}
	}
	return traces
}

// Around returns the text before a leak, which tells where it comes from.
func Around(text []byte, offset int) []byte { return text[max(0, offset-200):offset] }

// Check ends the test if err is not nil.
func (w *World) Check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Eventually polls until condition returns nil, and fails with its last error
// after a while.
func (w *World) Eventually(condition func() error) {
	w.Helper()
	w.Soon(30*time.Second, condition)
}

// Soon is Eventually with a limit that the product promises.
func (w *World) Soon(limit time.Duration, condition func() error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Ctx, limit)
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

// Logs reports whether a line of ours in the log is of a level and has a word.
func (w *World) Logs(level, word string) bool {
	for line := range bytes.Lines(w.Caddy.Output()) {
		if bytes.Contains(line, []byte(`"level":"`+level+`"`)) && bytes.Contains(line, []byte(`"logger":"upstream_auth`)) &&
			bytes.Contains(line, []byte(word)) {
			return true
		}
	}
	return false
}
