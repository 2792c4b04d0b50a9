package authserver

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

const callback = "http://127.0.0.1:9/callback"

// flow is one way of a browser to the authorization server and back.
type flow struct {
	*testing.T
	server   *Server
	address  string
	verifier string
	request  url.Values
}

func begin(t *testing.T, config Config) *flow {
	t.Helper()
	config.RedirectURIs = append(config.RedirectURIs, callback, callback+"/other")
	s, address := start(t, config)
	f := &flow{T: t, server: s, address: address, verifier: oauth2.GenerateVerifier()}
	f.request = url.Values{
		"response_type": {"code"}, "client_id": {"sidecar"}, "redirect_uri": {callback}, "scope": {"api openid"},
		"state": {"a state of enough characters"}, "nonce": {"a nonce of enough characters"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(f.verifier)}, "code_challenge_method": {"S256"},
	}
	return f
}

// visit is what a browser gets from the authorization endpoint.
type visit struct {
	status   int
	body     string
	back     string     // where it is sent
	response url.Values // with what
}

// open asks for the page, or, with a form, sends it.
func (f *flow) open(form url.Values) visit {
	f.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, f.address+"/authorize?"+f.request.Encode(), body)
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.Fatal(err)
	}
	v := visit{status: res.StatusCode, body: string(text)}
	if location, err := res.Location(); err == nil {
		v.response = location.Query()
		location.RawQuery = ""
		v.back = location.String()
	}
	return v
}

func (f *flow) allow(account string) visit {
	f.Helper()
	return f.open(url.Values{"account": {account}, "decision": {"allow"}})
}

// code is the code that acme lets the client have.
func (f *flow) code() string {
	f.Helper()
	v := f.allow("acme")
	if v.status != http.StatusSeeOther || v.response.Get("code") == "" {
		f.Fatalf("no code: %+v", v)
	}
	return v.response.Get("code")
}

// exchange presents a code at the token endpoint, changed by more.
func (f *flow) exchange(code string, more ...string) (answer, error) {
	f.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {f.verifier},
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return post(f.T, f.address+"/token", form, "sidecar", "s3cret/+%: ü")
}
