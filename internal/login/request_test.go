package login_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
	"github.com/upstreamauth/caddy-upstream-auth/internal/login"
)

const document = `{"user":"ann","password":"p\"w&d <1>","pin":4711,"flag":true,"big":12345678901234567890,"host":"eu1","site":"s/1","list":[1],"empty":"","line":"a\nb","colon":"a:b"}`

type fields = map[string]string

func TestRequestIsMadeOfTheCredential(t *testing.T) {
	for name, c := range map[string]struct {
		request     login.Request
		line        string // method and URL
		header      fields
		body        string
		contentType string
	}{
		"form": {
			request:     login.Request{URL: "https://api.example/login?app=1", Form: fields{"grant": "x y", "user": "{credential.user}", "pass": "{credential.password}", "pin": "{credential.pin}"}},
			line:        "POST https://api.example/login?app=1",
			header:      fields{"Accept": "application/json"},
			body:        "grant=x+y&pass=p%22w%26d+%3C1%3E&pin=4711&user=ann",
			contentType: "application/x-www-form-urlencoded",
		},
		"JSON nests, and keeps types": {
			request: login.Request{URL: "https://api.example/login", JSON: fields{
				"auth.identity.user": "{credential.user}", "auth.identity.password": "{credential.password}", "auth.methods": `["password"]`,
				"pin": "{credential.pin}", "flag": "{credential.flag}", "big": "{credential.big}", "both": "{credential.user}-{credential.pin}",
				"yes": "true", "n": "42", "none": "null", "text": `"42"`, "words": "a b", "list": `["a",1]`, "key": "{env.KEY}", "nothing": "",
			}},
			line: "POST https://api.example/login",
			body: `{"auth":{"identity":{"password":"p\"w&d <1>","user":"ann"},"methods":["password"]},"big":12345678901234567890,"both":"ann-4711","flag":true,` +
				`"key":"env-key","list":["a",1],"n":42,"none":null,"nothing":"","pin":4711,"text":"42","words":"a b","yes":true}`,
			contentType: "application/json",
		},
		"an own body": {
			request: login.Request{
				Method: "PUT", URL: "https://api.example/login", Header: fields{"content-type": "text/xml; charset=utf-8", "SOAPAction": "login"},
				Body: "<login><user>{credential.user}</user></login>",
			},
			line:        "PUT https://api.example/login",
			header:      fields{"SOAPAction": "login"},
			body:        "<login><user>ann</user></login>",
			contentType: "text/xml; charset=utf-8",
		},
		"header and Basic": {
			request: login.Request{
				Method: "GET", URL: "https://{credential.host}.api.example/{credential.user}/session?pin={credential.pin}",
				Header: fields{"X-Key": "{env.KEY}", "Accept": "text/plain"}, User: "{credential.user}", Password: "{credential.password}",
			},
			line:   "GET https://eu1.api.example/ann/session?pin=4711",
			header: fields{"X-Key": "env-key", "Accept": "text/plain", "Authorization": "Basic YW5uOnAidyZkIDwxPg=="},
		},
		"braces in JSON": {
			request: login.Request{URL: "https://api.example/graphql", JSON: fields{
				"query":           `"mutation ($email: String!) \u007b signIn(email: $email) \u007b token } }"`,
				"variables.email": "{credential.user}",
			}},
			line:        "POST https://api.example/graphql",
			contentType: "application/json",
			body:        `{"query":"mutation ($email: String!) \u007b signIn(email: $email) \u007b token } }","variables":{"email":"ann"}}`,
		},
		"a password may be empty": {
			request: login.Request{URL: "https://api.example/", User: "{credential.user}", Password: "{credential.empty}"},
			line:    "POST https://api.example/",
			header:  fields{"Authorization": "Basic YW5uOg=="},
		},
	} {
		allowed, _ := hosts.Parse([]string{"*.api.example", "api.example"})
		r := newRenewer(t, login.Config{Requests: []login.Request{c.request}, TokenHosts: allowed})
		req, config, err := r.Request(t.Context(), newCredential(t, document))
		if err != nil || config != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := req.Method + " " + req.URL.String(); got != c.line {
			t.Errorf("%s: asked %s", name, got)
		}
		for field, want := range c.header {
			if got := req.Header.Get(field); got != want {
				t.Errorf("%s: %s is %q, want %q", name, field, got, want)
			}
		}
		if got := bodyOf(t, req); got != c.body || req.Header.Get("Content-Type") != c.contentType {
			t.Errorf("%s: sent %s as %q\nwant %s", name, got, req.Header.Get("Content-Type"), c.body)
		}
		if c.body != "" && req.GetBody == nil {
			t.Errorf("%s: the body cannot be had again", name)
		}
	}
}

// What a tenant writes into its credential changes nothing but its own place.
func TestFieldsThatCannotStandWhereTheyBelong(t *testing.T) {
	xml := fields{"Content-Type": "application/soap+xml"}
	for name, request := range map[string]login.Request{
		"missing":           {URL: "https://api.example/", Form: fields{"a": "{credential.absent}"}},
		"empty":             {URL: "https://api.example/", Form: fields{"a": "{credential.empty}"}},
		"composite":         {URL: "https://api.example/", JSON: fields{"a": "{credential.list}"}},
		"path":              {URL: "https://api.example/{credential.site}"},
		"host":              {URL: "https://{credential.site}.api.example/"},
		"header":            {URL: "https://api.example/", Header: fields{"X-A": "{credential.line}"}},
		"user name":         {URL: "https://api.example/", User: "{credential.colon}"},
		"password":          {URL: "https://api.example/", User: "a", Password: "{credential.line}"},
		"XML":               {URL: "https://api.example/", Header: xml, Body: "<a>{credential.password}</a>"},
		"JSON as a body":    {URL: "https://api.example/", Header: fields{"Content-Type": "application/json"}, Body: `["{credential.password}"]`},
		"form as a body":    {URL: "https://api.example/", Header: fields{"Content-Type": "application/x-www-form-urlencoded"}, Body: "a={credential.password}"},
		"control character": {URL: "https://api.example/", Header: fields{"Content-Type": "text/plain"}, Body: "{credential.line}"},
	} {
		allowed, _ := hosts.Parse([]string{"*.api.example", "api.example"})
		r := newRenewer(t, login.Config{Requests: []login.Request{request}, TokenHosts: allowed})
		_, _, err := r.Request(t.Context(), newCredential(t, document))
		if !errors.Is(err, credential.ErrInvalid) || strings.Contains(err.Error(), "p\"w") {
			t.Errorf("%s: got %v", name, err)
		}
		if checked := r.CheckNew(newCredential(t, document)); !errors.Is(checked, credential.ErrInvalid) {
			t.Errorf("%s: as a new credential: %v", name, checked)
		}
	}
}

// A tenant that names the host sends nothing of others' elsewhere, nor to this machine.
func TestHostsThatAreNotTokenHosts(t *testing.T) {
	allowed, err := hosts.Parse([]string{"*.api.example:443"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRenewer(t, login.Config{Requests: []login.Request{{URL: "https://{credential.host}/", Header: fields{"X-Key": "{env.KEY}"}}}, TokenHosts: allowed})
	for host, want := range map[string]bool{
		"eu1.api.example": true, "api.example": false, "a.b.api.example": false, "evil.example": false,
		"localhost": false, "127.0.0.1": false, "10.0.0.1": false, "169.254.169.254": false, "2130706433": false, "eu1.api.example.evil.example": false,
	} {
		_, _, err := r.Request(t.Context(), newCredential(t, `{"host":"`+host+`"}`))
		if (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	const url = "https://api.example/login"
	with := func(change func(*login.Config)) login.Config {
		c := login.Config{Requests: []login.Request{userAndPassword}}
		change(&c)
		return c
	}
	request := func(r login.Request) login.Config { return login.Config{Requests: []login.Request{r}} }
	second := func(r login.Request) login.Config { return login.Config{Requests: []login.Request{userAndPassword, r}} }
	refresh := func(r login.Request) login.Config {
		return with(func(c *login.Config) { c.Refresh = &r })
	}
	kept := func(f ...login.TokenField) login.Config {
		return with(func(c *login.Config) { c.TokenFields = f })
	}
	for want, config := range map[string]login.Config{
		"request is missing":           {},
		"the URL is missing":           request(login.Request{}),
		"must be https":                request(login.Request{URL: "http://api.example/"}),
		"not an absolute URL":          request(login.Request{URL: "{credential.url}"}),
		"host named by the credential": request(login.Request{URL: "https://{credential.host}/"}),
		"named by the credential or by an answer needs token_hosts": second(login.Request{URL: "https://{step1.host}/"}),
		"'DELETE' is not one of the methods":                        request(login.Request{Method: "DELETE", URL: url}),
		"form, json and body exclude":                               request(login.Request{URL: url, Form: fields{"a": "{env.KEY}"}, JSON: fields{"a": "b"}}),
		"body needs header Content-Type":                            request(login.Request{URL: url, Body: "{credential.user}"}),
		`"a b" is not a valid header name`:                          request(login.Request{URL: url, Header: fields{"a b": "c"}}),
		"header host cannot be set":                                 request(login.Request{URL: url, Header: fields{"host": "c"}}),
		"header X-A: text of the template has a control character":  request(login.Request{URL: url, Header: fields{"X-A": "b\nc"}}),
		"exclude each other":                                        request(login.Request{URL: url, User: "{credential.user}", Header: fields{"authorization": "{env.KEY}"}}),
		"basic has no user name":                                    request(login.Request{URL: url, Password: "{credential.user}"}),
		"basic: a secret is not written":                            request(login.Request{URL: url, User: "ann", Password: "hunter2"}),
		"form password: a secret is not written":                    request(login.Request{URL: url, Form: fields{"password": "hunter2"}}),
		"json a.clientSecret: a secret is not written":              request(login.Request{URL: url, JSON: fields{"a.clientSecret": "hunter2"}}),
		"header X-Api-Key: a secret is not written":                 request(login.Request{URL: url, Header: fields{"X-Api-Key": "hunter2"}}),
		"request: a secret is not written":                          request(login.Request{URL: url, Form: fields{"a": "hunter2"}}),
		"json: fields \"a\" and \"a.b\" overlap":                    request(login.Request{URL: url, JSON: fields{"a": "{env.KEY}", "a.b": "b"}}),
		"{step1.…} is not the answer to a request before this one":  request(login.Request{URL: url, Form: fields{"a": "{step1.b}"}}),
		"{step2.…} is not":                                          second(login.Request{URL: url, Form: fields{"a": "{step2.b}"}}),
		"are answers, and no fields":                                second(login.Request{URL: url, Form: fields{"a": "{credential.step1.b}"}}),
		"form a: placeholder {http.request.host}: unknown":          request(login.Request{URL: url, Form: fields{"a": "{http.request.host}"}}),
		"refresh: the URL is missing":                               refresh(login.Request{}),
		"refresh uses none of the token_fields":                     refresh(userAndPassword),
		"refresh: form a: {step1.…} is not":                         refresh(login.Request{URL: url, Form: fields{"a": "{step1.b}"}}),
		"field \"_upstream_auth\": _upstream_auth is reserved":      kept(login.TokenField{Field: "_upstream_auth", Path: "a"}),
		"unknown modifier @that":                                    kept(login.TokenField{Field: "a", Path: "b|@that"}),
		"path to take it from is missing":                           kept(login.TokenField{Field: "a"}),
		"is one of path, header and cookie":                         kept(login.TokenField{Field: "a", Path: "b", Cookie: "c"}),
		"that could have this name":                                 kept(login.TokenField{Field: "a", Header: "b c"}),
		`fields "a" and "a.b" overlap`:                              kept(login.TokenField{Field: "a", Path: "b"}, login.TokenField{Field: "a.b", Path: "b"}),
		`"expires_at" overlap`: with(func(c *login.Config) {
			c.TokenFields, c.ExpiresIn = []login.TokenField{{Field: "expires_at", Path: "b"}}, "ttl"
		}),
		"expires_in and expires_at exclude": with(func(c *login.Config) { c.ExpiresIn, c.ExpiresAt = "a", "b" }),
		"expires_in: unknown modifier":      with(func(c *login.Config) { c.ExpiresIn = "a|@b" }),
		"expires_in is not a lifetime":      with(func(c *login.Config) { c.Lifetime = -1 }),
		"rotation is of a token_field":      with(func(c *login.Config) { c.Rotation = "single_use" }),
		`rotation "often" is none of`:       with(func(c *login.Config) { c.Refresh = &refreshing; c.TokenFields = tokens; c.Rotation = "often" }),
	} {
		_, err := login.New(config, lookup)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "login: ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
