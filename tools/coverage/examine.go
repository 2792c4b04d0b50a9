package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// examine has the Caddyfile adapted, provisioned as by `caddy validate`, and tried.
func (a *api) examine() {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(a.caddyfile()), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		a.gap("adapt: %v", err)
		return
	}
	parsed, err := parse(config)
	if err == nil {
		err = caddy.Validate(parsed)
	}
	if err != nil {
		a.gap("validate: %v", err)
		return
	}
	// What was validated is gone again: this one is looked at.
	if parsed, err = parse(config); err != nil {
		a.gap("validate: %v", err)
		return
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	app := new(caddymodule.App)
	if err = caddy.StrictUnmarshalJSON(parsed.AppsRaw["upstream_auth"], app); err == nil {
		err = app.Provision(ctx)
	}
	if err != nil {
		a.gap("validate: %v", err)
		return
	}
	defer func() { _ = app.Cleanup() }()
	t := &trial{api: a, ctx: ctx, config: config, provider: app.Provider(providerName)}
	for _, document := range a.documents() {
		t.try(document)
	}
	t.tryRetryAfter()
	if a.code != nil {
		t.tryConnecting()
	}
}

// parse reads a configuration that logs nothing and has no administration endpoint.
func parse(config []byte) (*caddy.Config, error) {
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		return nil, err
	}
	parsed.Admin = &caddy.AdminConfig{Disabled: true}
	parsed.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}},
	}}
	return &parsed, nil
}

// documents are credentials that the provider has to take: with all fields and, one after
// the other, without one that is optional.
func (a *api) documents() [][]byte {
	all := [][]byte{a.document}
	for _, path := range sorted(a.optional) {
		if a.required[path] || slices.Contains(a.exposed, path) || a.code != nil && slices.Contains(a.code.ask, path) {
			continue // it is always there
		}
		without, err := sjson.DeleteBytes(bytes.Clone(a.document), path)
		if err != nil {
			a.gap("field %s cannot be left out", path)
		}
		all = append(all, without)
	}
	return all
}

// trial tries the provider of a line.
type trial struct {
	*api
	ctx      caddy.Context
	config   []byte // the whole configuration
	provider *upstream.Provider
}

// try has a credential taken, and authenticates a request with it; then its tokens are
// renewed, and the same again.
func (t *trial) try(document []byte) {
	c := t.check(document)
	if c == nil {
		return
	}
	t.tryRequest(c)
	if t.renewal == nil || t.severalSteps {
		return
	}
	if t.refresh != nil {
		t.tryRenewal(c, t.refresh)
		without, _ := sjson.DeleteBytes(bytes.Clone(document), "refresh_token")
		if c = t.check(without); c == nil {
			return
		}
	}
	t.tryRenewal(c, t.renewal)
	if t.renewal.refreshing { // the credential has a token already, as it has one to spend
		return
	}
	bare, _ := sjson.DeleteBytes(bytes.Clone(c.JSON()), "access_token")
	bare, _ = sjson.DeleteBytes(bare, "token")
	if c = t.check(bare); c != nil {
		t.tryRenewal(c, t.renewal)
	}
}

// check makes a credential of a document, as the credentials API does; nil if it is refused.
func (t *trial) check(document []byte) *credential.Credential {
	c, err := credential.New(credential.Document{Data: document})
	if err == nil {
		err = t.provider.Check(c)
	}
	if err != nil {
		t.gap("the credential is refused: %v", err)
		return nil
	}
	return c
}

// tryRequest authenticates a request.
func (t *trial) tryRequest(c *credential.Credential) {
	ready, err := t.provider.Ready(c)
	if err != nil {
		t.gap("a request is refused: %v", err)
		return
	}
	want := evaluate(t.base, c.JSON())
	t.tryUpstream(want, ready)
	req, err := http.NewRequestWithContext(t.ctx, http.MethodPost, "https://"+hostOf(want)+"/v1/things?page=2", http.NoBody)
	if err != nil {
		t.gap("requests: %v", err)
		return
	}
	for _, authenticator := range ready.Authenticators {
		if err := authenticator.Authenticate(req, nil); err != nil {
			t.gap("a request cannot be authenticated: %v", err)
		}
	}
	for name, value := range t.constants() {
		req.Header.Set(name, value)
	}
	for _, name := range sorted(t.header) {
		want, got := evaluate(t.header[name], c.JSON()), req.Header.Get(name)
		if t.jwt != nil && strings.Contains(t.header[name], jwtOf) {
			before, after, _ := strings.Cut(t.header[name], jwtOf)
			t.tryJWT(t.jwt, strings.TrimSuffix(strings.TrimPrefix(got, before), after), c.JSON())
		} else if got != want {
			t.gap("header %s is not as it should be: %q", name, got)
		}
	}
	if len(req.Header) != len(t.header) {
		t.gap("%d headers are set, and not %d", len(req.Header), len(t.header))
	}
	query := req.URL.Query()
	for _, name := range sorted(t.query) {
		if got := query.Get(name); got != evaluate(t.query[name], c.JSON()) {
			t.gap("query parameter %s is not as it should be: %q", name, got)
		}
	}
	_, path := cutHost(strings.TrimPrefix(want, "https://"))
	if got := req.URL.EscapedPath(); got != strings.TrimRight(path, "/")+"/v1/things" || query.Get("page") != "2" || len(query) != len(t.query)+1 {
		t.gap("the request is for %s", req.URL.RequestURI())
	}
}

// tryUpstream holds where a request goes against what the line says.
func (t *trial) tryUpstream(want string, ready *upstream.Ready) {
	dial := find(t.config, "upstreams").Get("0.dial").String()
	for i, path := range t.exposed {
		dial = strings.ReplaceAll(dial, "{upstream_auth.credential."+path+"}", ready.Exposed[i])
	}
	wanted, _ := cutHost(strings.TrimPrefix(want, "https://"))
	if !strings.Contains(wanted, ":") {
		wanted += ":443"
	}
	switch {
	case dial != wanted:
		t.gap("requests go to %s, and not to %s", dial, wanted)
	case !t.provider.Hosts.Allows(dial):
		t.gap("requests to %s are not allowed", dial)
	case !find(t.config, "transport").Get("tls").Exists():
		t.gap("requests go out without TLS")
	}
}

// constants are the header fields that the site sets.
func (t *trial) constants() map[string]string {
	all := map[string]string{}
	for name, values := range find(t.config, "headers").Get("request.set").Map() {
		if name != "Host" {
			all[name] = values.Get("0").String()
		}
	}
	return all
}

// find returns the first member of that name, however deep, in the HTTP servers.
func find(config []byte, name string) (found gjson.Result) {
	var walk func(value gjson.Result) bool
	walk = func(value gjson.Result) bool {
		if value.IsObject() && value.Get(name).Exists() {
			found = value.Get(name)
			return false
		}
		value.ForEach(func(_, inner gjson.Result) bool {
			return !inner.IsObject() && !inner.IsArray() || walk(inner)
		})
		return !found.Exists()
	}
	walk(gjson.GetBytes(config, "apps.http"))
	return found
}

// tryRenewal holds the token request against the line, answers it, and tries the new token.
func (t *trial) tryRenewal(c *credential.Credential, want *wantedRequest) {
	if spent, err := t.provider.Renewer.Spends(c); err != nil || (spent != "") != want.refreshing {
		t.gap("what is spent is not as it should be")
	}
	req, _, err := t.provider.Renewer.Request(t.ctx, c)
	if err != nil {
		t.gap("the token request cannot be made: %v", err)
		return
	}
	t.compare("token request", req, want, c.JSON())
	document, err := t.provider.Renewer.Merge(c.JSON(), scheme.Response{
		Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: t.answered(), At: time.Now(),
	})
	if err != nil {
		t.gap("the answer of the token endpoint is refused: %v", err)
		return
	}
	t.tryRenewed(document)
}

// tokens and lifetime are what servers answer with.
const (
	newToken        = "made-up-token-1"
	newRefreshToken = "made-up-refresh-token-1"
	lifetime        = 2 * time.Hour
)

// answered is the answer to a token request.
func (a *api) answered() []byte {
	body := []byte("{}")
	set := func(path string, value any) {
		if path == "" || path == "@this" {
			return
		}
		if changed, err := sjson.SetBytes(body, path, value); err != nil {
			a.gap("%s is no place in an answer", path)
		} else {
			body = changed
		}
	}
	for _, path := range a.answer.kept {
		set(path, gjson.GetBytes(a.document, path).String())
	}
	set(a.answer.refreshToken, newRefreshToken)
	set(a.answer.token, newToken)
	seconds := int(lifetime / time.Second)
	if a.answer.milliseconds {
		seconds *= 1000
	}
	set(a.answer.expiresIn, seconds)
	set(a.answer.expiresAt, time.Now().Add(lifetime).UTC().Format(time.RFC3339))
	return body
}

// tryRenewed tries a credential that has the tokens of an answer.
func (t *trial) tryRenewed(document []byte) {
	c := t.check(document)
	if c == nil {
		return
	}
	if token, err := t.provider.Renewer.Token(c); err != nil || token != newToken {
		t.gap("the token of the answer is not taken over")
	}
	expires, known := t.provider.Renewer.ExpiresAt(c)
	if ends := time.Until(expires); (t.answer.expiresIn != "" || t.answer.expiresAt != "") && (!known || ends > lifetime || ends < lifetime-time.Minute) {
		t.gap("the token's lifetime is not as it should be")
	}
	for _, path := range t.answer.kept {
		if c.Get(path).String() == "" {
			t.gap("%s of the answer is not kept", path)
		}
	}
	t.tryRequest(c)
}

// compare holds a request for a token against what the line says.
func (t *trial) compare(what string, req *http.Request, want *wantedRequest, document []byte) {
	sent, err := readRequest(req)
	if err != nil {
		t.gap("%s: %v", what, err)
		return
	}
	if t.compareURL(what, req.URL, evaluate(want.url, document)); req.Method != cmp.Or(want.method, http.MethodPost) {
		t.gap("%s: its method is %s", what, req.Method)
	}
	if sent.format != want.format && want.format != "" {
		t.gap("%s: its parameters are %q, and not %q", what, sent.format, want.format)
	}
	expected := map[string]string{}
	for name, text := range want.params {
		expected[name] = evaluate(text, document)
	}
	if want.scope != "" {
		expected["scope"] = want.scope
	}
	header := map[string]string{}
	for name, text := range want.header {
		header[name] = evaluate(text, document)
	}
	switch want.clientAuth {
	case "post":
		expected["client_id"], expected["client_secret"] = clientID, clientSecret
	case "basic":
		header["Authorization"] = evaluate(fmt.Sprintf("Basic ${base64(%s:%s)}", clientID, clientSecret), nil)
	}
	if t.assertion != "" {
		t.tryJWT(t.signed, sent.params.Get(t.assertion), document)
	}
	if want.refreshing && want.clientAuth != "" {
		expected["refresh_token"] = gjson.GetBytes(document, "refresh_token").String()
	}
	for _, name := range sorted(expected) {
		if sent.params.Get(name) != expected[name] {
			t.gap("%s: parameter %s is %q, and not %q", what, name, sent.params.Get(name), expected[name])
		}
	}
	for _, name := range sorted(header) {
		got := req.Header.Get(name)
		if strings.EqualFold(name, "Content-Type") {
			got = strings.TrimSuffix(got, "; charset=utf-8")
		}
		if got != header[name] {
			t.gap("%s: header %s is %q, and not %q", what, name, got, header[name])
		}
	}
}

// compareURL holds a URL against one whose query may have been added to.
func (t *trial) compareURL(what string, got *url.URL, want string) {
	wanted, err := url.Parse(want)
	if err != nil {
		t.gap("%s: %s is no URL", what, want)
		return
	}
	if got.Scheme != wanted.Scheme || got.Host != wanted.Host || got.EscapedPath() != wanted.EscapedPath() {
		t.gap("%s: it goes to %s, and not to %s", what, got.Redacted(), want)
	}
	query := got.Query()
	for name, values := range wanted.Query() {
		if !slices.Equal(query[name], values) {
			t.gap("%s: %s in its URL is %q", what, name, query[name])
		}
	}
}
