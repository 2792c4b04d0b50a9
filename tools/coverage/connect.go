package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	connectmodule "github.com/upstreamauth/caddy-upstream-auth/caddymodule/api"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/schemes"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/credential/storetest"
	"github.com/upstreamauth/caddy-upstream-auth/internal/connect"
	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
)

// tryConnecting connects an account, from the link to the credential, with a browser and an
// authorization server that are functions.
func (t *trial) tryConnecting() {
	handler := handlerOf(gjson.GetBytes(t.config, "apps.http"), "upstream_auth_connect")
	var conf connectmodule.Connect
	if err := json.Unmarshal([]byte(handler.Raw), &conf); err != nil {
		t.gap("connecting: %v", err)
		return
	}
	settings, err := conf.Config(schemes.OAuth2Of(t.provider.Schemes), nil, config.NewResolver())
	if err != nil {
		t.gap("connecting: %v", err)
		return
	}
	server := &authorizationServer{answer: t.answered()}
	var stored []byte
	settings.Links, settings.Dialer = links.New(storetest.NewMemory()), server
	settings.Accept = func(_ context.Context, _ credential.Tenant, document []byte) error {
		stored = document
		return nil
	}
	flow, err := connect.New(*settings)
	if err != nil {
		t.gap("connecting: %v", err)
		return
	}
	if err := t.connect(flow, server); err != nil {
		t.gap("connecting: %v", err)
		return
	}
	if server.request == nil || stored == nil {
		t.gap("connecting: nothing came of it")
		return
	}
	t.compare("code request", server.request, &t.code.request, t.document)
	t.tryRenewed(stored)
}

// handlerOf returns the first handler of that name.
func handlerOf(value gjson.Result, name string) (found gjson.Result) {
	value.ForEach(func(_, inner gjson.Result) bool {
		if inner.Get("handler").String() == name {
			found = inner
		} else if inner.IsObject() || inner.IsArray() {
			found = handlerOf(inner, name)
		}
		return !found.Exists()
	})
	return found
}

var formField = regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`)

// connect is what a person's browser does.
func (t *trial) connect(flow *connect.Flow, server *authorizationServer) error {
	link, err := flow.Link(t.ctx, "acme", connect.LinkOptions{})
	if err != nil {
		return err
	}
	jar := map[string]string{}
	page := t.visit(flow, jar, http.MethodGet, link.URL, nil)
	if page.Code != http.StatusOK {
		return fmt.Errorf("the link's page answers %d", page.Code)
	}
	form := url.Values{}
	for _, field := range formField.FindAllStringSubmatch(page.Body.String(), -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	for _, path := range t.code.ask {
		form.Set("ask."+path, gjson.GetBytes(t.document, path).String())
	}
	begun := t.visit(flow, jar, http.MethodPost, link.URL, form)
	if begun.Code != http.StatusSeeOther {
		return fmt.Errorf("the form answers %d", begun.Code)
	}
	authorization, err := url.Parse(begun.Header().Get("Location"))
	if err != nil {
		return err
	}
	t.compareAuthorization(authorization)
	back := redirectURI + "?" + url.Values{"code": {"made-up-code"}, "state": {authorization.Query().Get("state")}}.Encode()
	if ended := t.visit(flow, jar, http.MethodGet, back, nil); ended.Code != http.StatusOK {
		return fmt.Errorf("the way back answers %d", ended.Code)
	}
	request, err := readRequest(server.request)
	if err != nil {
		return err
	}
	code := request.params
	if code.Get("code") != "made-up-code" || code.Get("redirect_uri") != redirectURI ||
		authorization.Query().Has("code_challenge") == t.code.withoutPKCE || code.Has("code_verifier") == t.code.withoutPKCE {
		return errors.New("the code is not spent as it should be")
	}
	server.request.Body, err = server.request.GetBody()
	return err
}

// compareAuthorization holds the authorization request against the line.
func (t *trial) compareAuthorization(got *url.URL) {
	t.compareURL("authorization request", got, evaluate(t.code.authorizationURL, t.document))
	sent := got.Query()
	for _, name := range sorted(t.code.params) {
		if value := evaluate(t.code.params[name], t.document); sent.Get(name) != value {
			t.gap("authorization request: parameter %s is %q, and not %q", name, sent.Get(name), value)
		}
	}
	if sent.Get("client_id") != clientID || sent.Get("redirect_uri") != redirectURI || sent.Get("state") == "" {
		t.gap("authorization request: it is not the client's")
	}
}

// visit has the flow serve a request.
func (t *trial) visit(flow *connect.Flow, jar map[string]string, method, address string, form url.Values) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(t.ctx, method, address, strings.NewReader(form.Encode()))
	if form != nil {
		req.Header.Set("Content-Type", contentTypes["form"])
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, value := range jar {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	flow.ServeHTTP(w, req)
	res := w.Result()
	defer res.Body.Close()
	for _, cookie := range res.Cookies() {
		jar[cookie.Name] = cookie.Value
	}
	return w
}

// authorizationServer answers one request, which it keeps. Nothing is dialled.
type authorizationServer struct {
	request *http.Request
	answer  []byte
}

// Dial implements [tokenrequest.Dialer].
func (s *authorizationServer) Dial(context.Context, string, *tls.Config) (tokenrequest.Conn, error) {
	return s, nil
}

// Send implements [tokenrequest.Conn].
func (s *authorizationServer) Send(_ context.Context, req *http.Request, _ tokenrequest.Limits) (*tokenrequest.Response, error) {
	s.request = req
	r := &tokenrequest.Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: s.answer, At: time.Now()}
	return r.AnswerTo(req), nil
}

// Close implements [tokenrequest.Conn].
func (s *authorizationServer) Close() {}
