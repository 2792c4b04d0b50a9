package connect

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/internal/links"
)

func TestMalformedCallbacks(t *testing.T) {
	for name, change := range map[string]func(string, url.Values) string{
		"no state":      func(_ string, q url.Values) string { q.Del("state"); return q.Encode() },
		"empty state":   func(_ string, q url.Values) string { q.Set("state", ""); return q.Encode() },
		"nothing":       func(string, url.Values) string { return "" },
		"two states":    func(raw string, q url.Values) string { return raw + "&state=" + q.Get("state") },
		"two codes":     func(raw string, _ url.Values) string { return raw + "&code=canary" },
		"two issuers":   func(raw string, _ url.Values) string { return raw + "&iss=https%3A%2F%2Fas.example" },
		"two errors":    func(raw string, _ url.Values) string { return raw + "&error=canary&error=access_denied" },
		"not read":      func(raw string, _ url.Values) string { return raw + "&x=%zz" },
		"no code":       func(_ string, q url.Values) string { q.Del("code"); return q.Encode() },
		"an empty code": func(_ string, q url.Values) string { q.Set("code", ""); return q.Encode() },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			back := f.authorize("")
			base, raw, _ := strings.Cut(back, "?")
			query, err := url.ParseQuery(raw)
			if err != nil {
				t.Fatal(err)
			}
			f.wantFailure(f.browser.get(t, f.Flow, base+"?"+change(raw, query)), ErrMalformed)
			if n := f.server.count("/token"); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

func TestErrorsOfTheAuthorizationServer(t *testing.T) {
	for code, want := range map[string]error{
		"access_denied":             ErrDeclined,
		"server_error":              ErrServerUnavailable,
		"temporarily_unavailable":   ErrServerUnavailable,
		"invalid_scope":             ErrServerRefused,
		"unauthorized_client":       ErrServerRefused,
		"interaction_required":      ErrServerRefused,
		"":                          ErrServerRefused,
		"<script>canary</script>":   ErrServerRefused,
		"canary\r\nSet-Cookie: x=y": ErrServerRefused,
	} {
		t.Run(code, func(t *testing.T) {
			f := newFixture(t, nil)
			response := f.browser.get(t, f.Flow, with(t, f.authorize(""), func(q url.Values) {
				q.Set("error", code)
				q.Set("error_description", "canary <b>description</b>")
				q.Set("error_uri", "https://canary.example/")
			}))
			f.wantFailure(response, want)
			if n := f.server.count("/token"); n != 0 {
				t.Errorf("%d token requests", n)
			}
			if want == ErrDeclined && !strings.Contains(response.Body.String(), "was declined") {
				t.Error("the page does not say that it was declined")
			}
			if want == ErrServerRefused && strings.HasPrefix(code, "i") && !strings.Contains(f.log.String(), code) {
				t.Error("the log does not name a known code")
			}
		})
	}
}

func TestIssuerOfTheAnswer(t *testing.T) {
	const unsaid = "authorization_response_iss_parameter_supported"
	for name, test := range map[string]struct {
		change   func(url.Values)
		metadata any // of unsaid
		issuer   bool
		refused  bool
	}{
		"right":                           {func(url.Values) {}, true, true, false},
		"right though not promised":       {func(url.Values) {}, nil, true, false},
		"missing though promised":         {func(q url.Values) { q.Del("iss") }, true, true, true},
		"missing and not promised":        {func(q url.Values) { q.Del("iss") }, nil, true, false},
		"another":                         {func(q url.Values) { q.Set("iss", "https://canary.example") }, true, true, true},
		"another though not promised":     {func(q url.Values) { q.Set("iss", "https://canary.example") }, nil, true, true},
		"longer":                          {func(q url.Values) { q.Set("iss", "https://as.example/") }, true, true, true},
		"in other letters":                {func(q url.Values) { q.Set("iss", "https://AS.example") }, true, true, true},
		"empty":                           {func(q url.Values) { q.Set("iss", "") }, nil, true, true},
		"another, of an error":            {func(q url.Values) { q.Set("iss", "https://x.example"); q.Set("error", "access_denied") }, nil, true, true},
		"another, but no issuer is known": {func(q url.Values) { q.Set("iss", "https://x.example") }, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *Config) {
				if !test.issuer {
					c.Issuer, c.AuthorizationURL = "", literal("https://as.example/authorize")
				}
			})
			f.server.metadata[unsaid] = test.metadata
			response := f.browser.get(t, f.Flow, with(t, f.authorize(""), test.change))
			if !test.refused {
				f.wantConnected(response)
				return
			}
			f.wantFailure(response, ErrIssuer)
			if n := f.server.count("/token"); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

func TestNothingOfTheQueryIsReflected(t *testing.T) {
	f := newFixture(t, nil)
	for _, address := range []string{
		"https://connect.example/oauth/connect?link=canary&canary=%3Cscript%3E",
		"https://connect.example/oauth/callback?state=canary&code=canary&error=canary&error_description=canary&canary",
		"https://connect.example/oauth/callback?canary",
	} {
		response := f.browser.get(t, f.Flow, address)
		wantPage(t, response)
		for name, values := range response.Header() {
			if strings.Contains(strings.Join(values, " "), "canary") {
				t.Errorf("header %s: %s", name, values)
			}
		}
	}
}

func TestEveryErrorHasAPageOfItsOwn(t *testing.T) {
	titles := map[string]error{}
	for _, err := range []error{
		ErrMalformed, ErrForged, ErrExpired, ErrUsed, ErrOtherProvider, ErrOtherBrowser, ErrDeclined, ErrServerRefused,
		ErrServerUnavailable, ErrIssuer, ErrIDToken, ErrUserinfo, ErrNotAccepted, ErrCrossSite, ErrHandoff, ErrOtherAccount,
		&links.QuotaError{}, errors.New("else"),
	} {
		n := noticeOf(err)
		if other := titles[n.Title]; other != nil {
			t.Errorf("%v and %v have one page", err, other)
		}
		titles[n.Title] = err
		if n.status < 400 || n.Text == "" {
			t.Errorf("%v: %v", err, n)
		}
	}
	if n := noticeOf(errors.New("else")); n.status != http.StatusServiceUnavailable {
		t.Errorf("anything else: %v", n)
	}
}
