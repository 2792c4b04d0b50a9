package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
	"github.com/upstreamauth/caddy-upstream-auth/internal/rest"
)

// output is what came of a command.
type output struct {
	out, err string
	failed   error
}

// run runs `caddy upstream-auth` with arguments, in this process.
func run(t *testing.T, stdin io.Reader, args ...string) output {
	t.Helper()
	registered := caddycmd.Commands()["upstream-auth"]
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	parent := &cobra.Command{Use: registered.Name + " " + registered.Usage, Short: registered.Short, Long: registered.Long}
	registered.CobraFunc(parent)
	root.AddCommand(parent)
	var out, err bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&err)
	root.SetIn(stdin)
	root.SetArgs(append([]string{"upstream-auth"}, args...))
	failed := root.ExecuteContext(t.Context())
	return output{out.String(), err.String(), failed}
}

// command runs one against the sidecar.
func (s *sidecar) command(t *testing.T, stdin string, args ...string) output {
	t.Helper()
	return run(t, strings.NewReader(stdin), append(args, "--address", s.admin)...)
}

// managed is a sidecar with tenants of all kinds.
func managed(t *testing.T) (*sidecar, *authServer) {
	t.Helper()
	auth := newAuthServer(t)
	s := administered(t, map[credential.Key]string{
		key("acme"):                           `{"api_key":"canary-api-key","account":"a-1","_upstream_auth":{"by":"somebody"}}`,
		key("broken"):                         `{"account":"a-2"}`,
		key("deleted"):                        `{"api_key":"canary-api-key","account":"a-3"}`,
		{Provider: "crm", Tenant: "acme"}:     tokens,
		{Provider: "crm", Tenant: "disabled"}: strings.Replace(tokens, "{", `{"_upstream_auth":{"disabled":"true"},`, 1),
		{Provider: "crm", Tenant: "refused"}:  tokens,
	})
	s.start(t, strings.Replace(apiKey, "{\n", "{\nexpose account\nallowed_hosts *.example.com\n", 1)+"\n"+
		auth.provider("crm", "authorization_url "+auth.URL+"/authorize\nrevocation_url "+auth.URL+"/revoke"),
		"route {\nupstream_auth_connect crm {\nredirect_uris "+s.url+"/oauth/callback\n}\nupstream_auth crm 127.0.0.1:1\n}")
	s.ask(t, "DELETE", "billing/tenants/deleted", "", nil)
	auth.refuses.Store(true)
	s.ask(t, "POST", "crm/tenants/refused/refresh", "{}", nil)
	auth.refuses.Store(false)
	return s, auth
}

var (
	written = regexp.MustCompile(`"written_at": "[^"]+"`)
	at      = regexp.MustCompile(`"(at|retry_at)": "[^"]+"`)
	expires = regexp.MustCompile(`"expires_at": "2[^"]+"`)
	link    = regexp.MustCompile(`"url": "[^"]+/oauth/connect[^"]*"`)
	handoff = regexp.MustCompile(`"handoff": "[A-Z2-7]{10}"`)
	owner   = regexp.MustCompile(`"written_by": "[^"]+/[0-9]+"`)
	address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
)

// stable replaces what differs between runs.
func (s *sidecar) stable(text string) string {
	text = written.ReplaceAllString(text, `"written_at": "TIME"`)
	text = at.ReplaceAllString(text, `"$1": "TIME"`)
	text = expires.ReplaceAllString(text, `"expires_at": "TIME"`)
	text = link.ReplaceAllString(text, `"url": "LINK"`)
	text = handoff.ReplaceAllString(text, `"handoff": "CODE"`)
	text = owner.ReplaceAllString(text, `"written_by": "HOST/PID"`)
	text = address.ReplaceAllString(text, "ADDRESS")
	return strings.ReplaceAll(text, s.dir, "DIR")
}

func TestCommandsWriteJSON(t *testing.T) {
	s, _ := managed(t)
	for _, c := range []struct {
		name, stdin string
		args        []string
		fails       bool
	}{
		{"list", "", []string{"list", "--provider", "billing"}, false},
		{"list_limit", "", []string{"list", "--provider", "crm", "--limit", "1"}, false},
		{"list_after", "", []string{"list", "--provider", "crm", "--after", "acme"}, false},
		{"get", "", []string{"get", "--provider", "billing", "--tenant", "acme"}, false},
		{"get_unknown", "", []string{"get", "--provider", "billing", "--tenant", "nobody"}, true},
		{"get_no_tenant", "", []string{"get", "--provider", "billing", "--tenant", "../acme"}, true},
		{"get_no_provider", "", []string{"get", "--provider", "Billing", "--tenant", "acme"}, true},
		{"explain", "", []string{"explain", "--provider", "crm", "--tenant", "acme"}, false},
		{"explain_mapping", "", []string{"explain", "--provider", "billing", "--tenant", "acme"}, false},
		{"explain_refused", "", []string{"explain", "--provider", "crm", "--tenant", "refused"}, false},
		{"explain_disabled", "", []string{"explain", "--provider", "crm", "--tenant", "disabled"}, false},
		{"explain_missing", "", []string{"explain", "--provider", "crm", "--tenant", "nobody"}, false},
		{"put", `{"api_key":"canary-put","account":"a-9"}`, []string{"put", "--provider", "billing", "--tenant", "new"}, false},
		{"put_broken", `{"api_key":["canary-put"],"account":"a-9"}`, []string{"put", "--provider", "billing", "--tenant", "new"}, true},
		{"put_empty", "", []string{"put", "--provider", "billing", "--tenant", "new"}, true},
		{"put_no_file", "", []string{"put", "--provider", "billing", "--tenant", "new", "--file", s.path("absent")}, true},
		{"refresh", "", []string{"refresh", "--provider", "crm", "--tenant", "acme"}, false},
		{"refresh_refused", "", []string{"refresh", "--provider", "crm", "--tenant", "refused"}, true},
		{"revoke", "", []string{"revoke", "--provider", "crm", "--tenant", "acme"}, false},
		{"revoke_not", "", []string{"revoke", "--provider", "billing", "--tenant", "acme"}, true},
		{"connect_link", "", []string{"connect-link", "--provider", "crm", "--tenant", "acme"}, false},
		{"connect_link_not", "", []string{"connect-link", "--provider", "billing", "--tenant", "acme"}, true},
		{"connect_link_elsewhere", "", []string{"connect-link", "--provider", "crm", "--tenant", "acme", "--return-to", "https://evil.example/"}, true},
		{"connect_link_handoff", "", []string{"connect-link", "--provider", "crm", "--tenant", "acme", "--handoff"}, false},
		{"connect_link_account", "", []string{"connect-link", "--provider", "crm", "--tenant", "acme", "--account", "sub=x"}, true},
		{"withdraw_links", "", []string{"withdraw-links", "--provider", "crm", "--tenant", "acme"}, false},
		{"withdraw_links_not", "", []string{"withdraw-links", "--provider", "billing", "--tenant", "acme"}, true},
		{"withdraw_links_all", "", []string{"withdraw-links", "--all"}, false},
		{"delete", "", []string{"delete", "--provider", "billing", "--tenant", "new"}, false},
		{"delete_again", "", []string{"delete", "--provider", "billing", "--tenant", "new"}, true},
		{"doctor", "", []string{"doctor"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.command(t, c.stdin, append(c.args, "--json")...)
			if (got.failed != nil) != c.fails {
				t.Errorf("got error %v", got.failed)
			}
			text, other := got.out, got.err
			if c.fails {
				text, other = got.err, got.out
			}
			if !json.Valid([]byte(text)) || other != "" {
				t.Errorf("got %q, and on the other stream %q", text, other)
			}
			compare(t, filepath.Join("testdata", "command", c.name+".json"), s.stable(text))
		})
	}
}

// compare holds text against a file, or rewrites that with -update.
func compare(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

func TestCommandsSpeakInWords(t *testing.T) {
	s, _ := managed(t)
	for name, c := range map[string]struct {
		stdin string
		args  []string
		want  []string // in the output, in this order
	}{
		"list": {"", []string{"list", "--provider", "billing"}, []string{
			"TENANT", "STATUS", "VERSION", "WRITTEN", "BY", "EXPIRES", "\nacme", "ready", "1", "now", "-", "\nbroken", "invalid",
		}},
		"a tenant that is disabled": {"", []string{"list", "--provider", "crm"}, []string{"acme", "\ndisabled", "ready, refreshes disabled", "years ago", "\nrefused", "reauthorization_required"}},
		"no tenants":                {"", []string{"list", "--provider", "billing", "--after", "z"}, nil},
		"get":                       {"", []string{"get", "--provider", "billing", "--tenant", "acme"}, []string{"Tenant", "acme", "Provider", "billing", "Status", "ready", "Version", "1", "Written", "Field account", `"a-1"`}},
		"explain": {"", []string{"explain", "--provider", "billing", "--tenant", "acme"}, []string{
			"Sent with", "X-Api-Key: {credential.api_key}", "Sent to", "*.example.com", "A request: It is sent at once.", "After a 401: The store is read again.",
		}},
		"explain what a person has to do": {"", []string{"explain", "--provider", "crm", "--tenant", "refused"}, []string{
			"reauthorization_required", "the upstreams of its sites", "To do: Somebody has to authorize anew: send the end user a link",
		}},
		"put":                  {`{"api_key":"canary-put","account":"x"}`, []string{"put", "--provider", "billing", "--tenant", "put"}, []string{"put", "billing", "ready", "by admin"}},
		"refresh":              {"", []string{"refresh", "--provider", "crm", "--tenant", "acme"}, []string{"acme", "ready", "Expires", "from now"}},
		"connect-link":         {"", []string{"connect-link", "--provider", "crm", "--tenant", "acme"}, []string{s.url + "/oauth/connect"}},
		"withdraw-links":       {"", []string{"withdraw-links", "--provider", "crm", "--tenant", "acme"}, []string{"Withdrew the links of crm / acme."}},
		"withdraw-links --all": {"", []string{"withdraw-links", "--all"}, []string{"Withdrew all links."}},
		"doctor":               {"", []string{"doctor"}, []string{"ok     ", "token_endpoint: the token endpoint of provider crm can be reached at"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.command(t, c.stdin, c.args...)
			if got.failed != nil {
				t.Fatalf("got error %v", got.failed)
			}
			rest := got.out
			for _, want := range c.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("no %q where it should be in\n%s", want, got.out)
				}
				rest = after
			}
		})
	}
	if got := s.command(t, "", "connect-link", "--provider", "crm", "--tenant", "acme"); strings.Count(got.out, "\n") != 1 || !strings.Contains(got.err, "It expires") {
		t.Errorf("the link is not alone on standard output: %q, %q", got.out, got.err)
	}
	if got := s.command(t, "", "connect-link", "--provider", "crm", "--tenant", "acme", "--handoff"); strings.Count(got.out, "\n") != 1 || !strings.Contains(got.err, "It needs the code ") {
		t.Errorf("the link is not alone on standard output: %q, %q", got.out, got.err)
	}
	for _, args := range [][]string{{}, {"--all", "--provider", "crm", "--tenant", "acme"}, {"--provider", "crm"}} {
		if got := s.command(t, "", append([]string{"withdraw-links"}, args...)...); got.failed == nil {
			t.Errorf("withdraw-links %q: got %q", args, got.out)
		}
	}
	if got := s.command(t, "", "delete", "--provider", "crm", "--tenant", "acme"); got.out != "Revoked and deleted crm / acme.\n" {
		t.Errorf("delete: got %q", got.out)
	}
	if got := s.command(t, "", "delete", "--provider", "billing", "--tenant", "acme"); got.out != "Deleted billing / acme. It was not revoked at its provider.\n" {
		t.Errorf("delete: got %q", got.out)
	}
}

func TestDeleteKeepsWhatCannotBeRevoked(t *testing.T) {
	s, auth := managed(t)
	auth.refuses.Store(true)
	args := []string{"delete", "--provider", "crm", "--tenant", "acme"}
	if got := s.command(t, "", args...); got.failed == nil || !strings.Contains(got.err, "revocation_failed") {
		t.Errorf("got %+v", got)
	}
	if got := s.command(t, "", append(args, "--force")...); got.failed != nil {
		t.Errorf("by force: got %+v", got)
	}
}

func TestListFollowsPages(t *testing.T) {
	credentials := make(map[credential.Key]string)
	for i := range 1000 + 5 {
		credentials[key(credential.Tenant("t"+string(rune('a'+i%26))+strings.Repeat("x", i/26)))] = `{"api_key":"k"}`
	}
	s := administered(t, credentials)
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	got := s.command(t, "", "list", "--provider", "billing", "--json")
	var page struct {
		Tenants []rest.Tenant
		Next    string
	}
	if err := json.Unmarshal([]byte(got.out), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Tenants) != len(credentials) || page.Next != "" {
		t.Errorf("got %d tenants and %q, want %d", len(page.Tenants), page.Next, len(credentials))
	}
}

func TestPutTakesNoSecretFromArguments(t *testing.T) {
	for name, args := range map[string][]string{
		"an argument":   {"put", "--provider", "billing", "--tenant", "acme", `{"api_key":"canary"}`},
		"no provider":   {"put", "--tenant", "acme"},
		"no such flag":  {"put", "--provider", "billing", "--tenant", "acme", "--credential", "canary"},
		"no such thing": {"store"},
		"list with one": {"list", "--provider", "billing", "canary-argument"},
	} {
		got := run(t, strings.NewReader(""), args...)
		if got.failed == nil || name != "list with one" && strings.Contains(got.err, "canary") {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	got := run(t, strings.NewReader(""), "put", "--provider", "billing", "--tenant", "acme", "x")
	if !strings.Contains(got.err, "standard input or from --file") {
		t.Errorf("got %q", got.err)
	}
}

func TestPutTakesAFile(t *testing.T) {
	s, _ := managed(t)
	if err := os.WriteFile(s.path("credential.json"), []byte(`{"api_key":"canary-file","account":"a"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.command(t, "not this", "put", "--provider", "billing", "--tenant", "file", "--file", s.path("credential.json")); got.failed != nil {
		t.Errorf("got %+v", got)
	}
}

func TestPutDoesNotWaitAtATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	defer terminal.Close()
	got := run(t, terminal, "put", "--provider", "billing", "--tenant", "acme")
	if got.failed == nil || !strings.Contains(got.err, "standard input is a terminal") {
		t.Errorf("got %+v", got)
	}
}

// The endpoint is found as Caddy's own commands find it.
func TestCommandsFindTheEndpointInTheConfiguration(t *testing.T) {
	s, _ := managed(t)
	if err := os.WriteFile(s.path("Caddyfile"), []byte("{\nadmin "+s.admin+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, nil, "get", "--provider", "billing", "--tenant", "acme", "--config", s.path("Caddyfile")); got.failed != nil {
		t.Errorf("got %+v", got)
	}
	if got := run(t, nil, "get", "--provider", "billing", "--tenant", "acme", "--config", s.path("absent")); got.failed == nil {
		t.Errorf("a configuration that is not there: got %+v", got)
	}
}

func TestCommandsSayWhenCaddyIsNotThere(t *testing.T) {
	nowhere := freeAddress(t)
	got := run(t, nil, "get", "--provider", "billing", "--tenant", "acme", "--address", nowhere)
	if got.failed == nil || !strings.Contains(got.err, "Caddy does not answer at "+nowhere) || !strings.Contains(got.err, "caddy run") {
		t.Errorf("get: got %+v", got)
	}
	got = run(t, nil, "doctor", "--address", nowhere)
	if got.failed == nil || !strings.Contains(got.out, "WRONG  caddy: Caddy does not answer at "+nowhere) || !strings.Contains(got.out, "caddy run") {
		t.Errorf("doctor: got %+v", got)
	}
	got = run(t, nil, "doctor", "--address", nowhere, "--json")
	var d explain.Report
	if err := json.Unmarshal([]byte(got.out), &d); err != nil || d.Healthy || len(d.Findings) != 1 || d.Findings[0].Check != "caddy" {
		t.Errorf("doctor: got %+v", got)
	}
	// Something else has the port, or an older Caddy.
	s := newSidecar(t, nil)
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	got = run(t, nil, "get", "--provider", "billing", "--tenant", "acme", "--address", s.address, "--json")
	if got.failed == nil || !strings.Contains(got.err, `"caddy_refused"`) {
		t.Errorf("got %+v", got)
	}
}

func TestTerminalsAreNotObeyed(t *testing.T) {
	s := administered(t, map[credential.Key]string{key("acme"): `{"api_key":"k","_upstream_auth":{"by":"\u001b]0;title\u0007\tx\nforged: line"}}`})
	s.start(t, apiKey, "upstream_auth billing 127.0.0.1:1")
	for _, command := range []string{"get", "explain"} {
		got := s.command(t, "", command, "--provider", "billing", "--tenant", "acme")
		if strings.ContainsAny(got.out, "\x1b\x07") || strings.Contains(got.out, "\nforged") {
			t.Errorf("%s: got %q", command, got.out)
		}
	}
}

// No output of any command has a secret in it, whatever becomes of it.
func TestNoCommandShowsASecret(t *testing.T) {
	t.Setenv("CLIENT_SECRET", "canary-client-secret")
	s, auth := managed(t)
	var said bytes.Buffer
	for _, refuses := range []bool{false, true} {
		for _, provider := range []string{"billing", "crm"} {
			for _, tenant := range []string{"acme", "broken", "refused", "disabled", "nobody"} {
				for _, command := range []string{"list", "get", "explain", "refresh", "connect-link", "withdraw-links", "revoke", "put", "delete", "doctor"} {
					auth.refuses.Store(refuses)
					for _, format := range []string{"--json=true", "--json=false"} {
						args := []string{command, format, "--address", s.admin}
						switch command {
						case "doctor":
						case "list":
							args = append(args, "--provider", provider)
						default:
							args = append(args, "--provider", provider, "--tenant", tenant)
						}
						got := run(t, strings.NewReader(`{"api_key":{"canary-key":"canary-value"},"access_token":["canary-item"],"canary-name":1}`), args...)
						said.WriteString(got.out + got.err)
						if got.failed != nil {
							said.WriteString(got.failed.Error())
						}
					}
				}
			}
		}
	}
	if said.Len() < 10_000 {
		t.Fatalf("the commands said little: %s", said.String())
	}
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, "canary") {
			t.Errorf("a secret is shown: %s", line)
		}
	}
}
