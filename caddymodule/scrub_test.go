package caddymodule_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// Stock servers repeat the query in redirects to a directory, and some the whole request.
func TestWhatAnUpstreamRepeatsDoesNotTellTheKey(t *testing.T) {
	const key1, token, password = "canary/key+1=", "canary-token-1", "canary pass:word"
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Trailer", "X-Trailer")
		header.Set("Location", "http://"+r.Host+r.URL.Path+"/?"+r.URL.RawQuery)
		header.Set("X-Key", r.URL.Query().Get("key"))
		header.Set("X-Request", strings.Join(r.Header["Authorization"], ",")+strings.Join(r.Header["X-Token"], ",")+strings.Join(r.Header["Cookie"], ","))
		header.Set("X-Base64", base64.StdEncoding.EncodeToString([]byte(r.URL.Query().Get("key"))))
		header.Set("X-Hex", strings.ToUpper(hex.EncodeToString([]byte(r.Header.Get("X-Token")))))
		_, pass, _ := r.BasicAuth()
		header.Set("X-Escaped", url.PathEscape(pass))
		header.Set("X-Account", r.URL.Query().Get("account")+" "+r.URL.Query().Get("region"))
		w.WriteHeader(http.StatusFound)
		header.Set("X-Trailer", r.Header.Get("X-Token"))
	}))
	t.Cleanup(upstream.Close)
	s := newSidecar(t, map[credential.Key]string{
		key("acme"): `{"key":"` + key1 + `","token":"` + token + `","user":"acme","password":"` + password + `","account":"account-4711","region":"eu"}`,
	})
	const provider = `provider billing {
		expose account
		query key {credential.key}
		query account {credential.account}
		query region {credential.region}
		header X-Token {credential.token}
		basic {credential.user} {credential.password}
		cookie session {credential.token}
	}`
	for scrub, told := range map[string]bool{"": false, "scrub headers": false, "scrub off": true} {
		s.start(t, provider, "upstream_auth billing "+upstream.URL+" {\n"+scrub+"\n}")
		res, _ := s.get(t, "/dir?x=1", as("acme"))
		all := res.Header.Clone()
		all["X-Trailer"] = res.Trailer["X-Trailer"]
		text := ""
		for name, values := range all {
			text += name + ": " + strings.Join(values, ", ") + "\n"
		}
		for _, form := range []string{
			"canary", url.QueryEscape(key1), base64.StdEncoding.EncodeToString([]byte(key1)), strings.ToUpper(hex.EncodeToString([]byte(token))),
			base64.StdEncoding.EncodeToString([]byte("acme:" + password)), url.PathEscape(password),
		} {
			if strings.Contains(text, form) != told {
				t.Errorf("%q: %s is there: %v\n%s", scrub, form, !told, text)
			}
		}
		if res.StatusCode != 302 || !strings.Contains(res.Header.Get("Location"), "x=1&") || res.Header.Get("X-Account") != "account-4711 eu" || res.Trailer.Get("X-Trailer") == "" {
			t.Errorf("got %s %v, trailers %v", res.Status, res.Header, res.Trailer)
		}
	}
}

// What a filter encodes, an upstream that decodes it may repeat.
func TestWhatAnUpstreamDecodesDoesNotTellTheKey(t *testing.T) {
	const apiKey = "canary/key+1="
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, encoded, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		for _, decode := range []func(string) ([]byte, error){
			base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString, hex.DecodeString,
			func(s string) ([]byte, error) { plain, err := url.QueryUnescape(s); return []byte(plain), err },
		} {
			if plain, err := decode(encoded); err == nil {
				w.Header().Add("X-Key", string(plain))
			}
		}
	}))
	t.Cleanup(upstream.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"key":"` + apiKey + `","account":"account-4711"}`})
	for _, filter := range []string{"base64", "base64url", "hex", "urlencode"} {
		s.start(t, "provider billing {\nexpose account\nheader Authorization \"Token {credential.key|"+filter+"}\"\n}", "upstream_auth billing "+upstream.URL)
		res, _ := s.get(t, "/", as("acme"))
		told := strings.Join(res.Header["X-Key"], " ")
		if !strings.Contains(told, "REDACTED") || strings.Contains(told, apiKey) {
			t.Errorf("%s: told %q", filter, told)
		}
		s.start(t, "provider billing {\nexpose account\nheader Authorization \"Token {credential.account|"+filter+"}\"\n}", "upstream_auth billing "+upstream.URL)
		if res, _ := s.get(t, "/", as("acme")); !strings.Contains(strings.Join(res.Header["X-Key"], " "), "account-4711") {
			t.Errorf("%s: what is exposed is not told: %v", filter, res.Header)
		}
	}
}

func TestBodyThatRepeatsTheKeyDoesNotTellIt(t *testing.T) {
	const key1 = "canary/key+1="
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		echo := r.Header.Get("Accept-Encoding") + " " + r.Header.Get("X-Api-Key") + " " + base64.StdEncoding.EncodeToString([]byte(r.Header.Get("X-Api-Key"))) + "\n"
		w.Header().Set("Content-Length", strconv.Itoa(len(echo)))
		_, _ = w.Write([]byte(echo))
	}))
	t.Cleanup(upstream.Close)
	s := newSidecar(t, map[credential.Key]string{key("acme"): `{"api_key":"` + key1 + `"}`})
	for scrub, want := range map[string]string{
		"":           "gzip " + key1 + " Y2FuYXJ5L2tleSsxPQ==\n",
		"scrub body": "identity ************* ******************==\n",
	} {
		s.start(t, apiKey, "upstream_auth billing "+upstream.URL+" {\n"+scrub+"\n}")
		if res, text := s.get(t, "/", as("acme")); text != want || res.ContentLength != int64(len(want)) {
			t.Errorf("%q: %q, %d bytes", scrub, text, res.ContentLength)
		}
	}
}
