package schemes_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// jwtLines is a scheme with more lines.
func jwtLines(lines string) string {
	return "jwt {\nalgorithm HS256\nkey {credential.key}\n" + lines + "\n}"
}

// claimsOf returns what is in a JWT whose signature is HS256 with that key, nil if it is
// not.
func claimsOf(token, key string) (header, claims map[string]any) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if parts[2] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		return nil, nil
	}
	for i, target := range []*map[string]any{&header, &claims} {
		text, _ := base64.RawURLEncoding.DecodeString(parts[i])
		_ = json.Unmarshal(text, target)
	}
	return header, claims
}

func authenticate(t *testing.T, a scheme.Authenticator, url string) *http.Request {
	t.Helper()
	req := newRequest(t, url)
	if err := a.Authenticate(req, nil); err != nil {
		t.Fatal(err)
	}
	return req
}

// The tokens of the document that the project was made from are in headers of one's choice.
func TestJWTGoesWhereItIsWanted(t *testing.T) {
	const document = `{"key": "a secret", "kid": "k1", "workspace": "w", "tenant": 7, "fields": {"a": [1]}}`
	const claims = "claim iss {credential.workspace}\nclaim id {credential.tenant}\nclaim fields {credential.fields}\nclaim fixed {env.FIXED}\nheader kid {credential.kid}\n"
	t.Setenv("FIXED", "constant")
	for lines, find := range map[string]func(*http.Request) (string, bool){
		"": func(req *http.Request) (string, bool) {
			return strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		},
		"to header Authorization \"Ghost {jwt}\"": func(req *http.Request) (string, bool) {
			return strings.CutPrefix(req.Header.Get("Authorization"), "Ghost ")
		},
		"to header membrane-token": func(req *http.Request) (string, bool) {
			return req.Header.Get("Membrane-Token"), true
		},
		"to header Cookie session={jwt}": func(req *http.Request) (string, bool) {
			return strings.CutPrefix(req.Header.Get("Cookie"), "session=")
		},
		"to query token": func(req *http.Request) (string, bool) {
			return req.URL.Query().Get("token"), req.URL.Query().Get("x") == "1"
		},
		"to query token \"a b {jwt}\"": func(req *http.Request) (string, bool) {
			return strings.CutPrefix(req.URL.Query().Get("token"), "a b ")
		},
	} {
		for _, reuse := range []string{"\nreuse on", "\nreuse off"} {
			a := bind(t, provision(t, jwtLines(claims+lines+reuse)), document)
			token, found := find(authenticate(t, a, "https://api.example/?x=1"))
			header, got := claimsOf(token, "a secret")
			delete(got, "exp")
			delete(got, "iat")
			delete(got, "nbf")
			delete(got, "jti")
			if !found || header["kid"] != "k1" || !reflect.DeepEqual(got, map[string]any{
				"iss": "w", "id": 7.0, "fields": map[string]any{"a": []any{1.0}}, "fixed": "constant",
			}) {
				t.Errorf("%s%s: got %v %v", lines, reuse, header, got)
			}
		}
	}
}

func TestJWTIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := bind(t, provision(t, jwtLines("lifetime 20m")), `{"key": "a secret"}`)
		first := authenticate(t, a, "https://api.example/").Header.Get("Authorization")
		time.Sleep(18 * time.Minute)
		if again := authenticate(t, a, "https://api.example/").Header.Get("Authorization"); again != first {
			t.Error("it was made anew")
		}
		time.Sleep(time.Minute)
		if again := authenticate(t, a, "https://api.example/").Header.Get("Authorization"); again == first {
			t.Error("it was kept until it expired")
		}
	})
	fresh := bind(t, provision(t, jwtLines("reuse off")), `{"key": "a secret"}`)
	first := authenticate(t, fresh, "https://api.example/").Header.Get("Authorization")
	if first == authenticate(t, fresh, "https://api.example/").Header.Get("Authorization") {
		t.Error("with reuse off it was kept")
	}
	if _, challenger := fresh.(scheme.Challenger); challenger {
		t.Error("one that is new would be made anew")
	}
}

func TestJWTThatWasKeptIsMadeAnewWhenItIsRefused(t *testing.T) {
	for _, to := range []string{"", "to query jwt"} {
		synctest.Test(t, func(t *testing.T) {
			a := bind(t, provision(t, jwtLines("lifetime 1h\n"+to)), `{"key": "a secret"}`).(scheme.Challenger)
			refuse := func(req *http.Request) bool {
				return a.Challenge(&http.Response{StatusCode: 401, Request: req, Body: http.NoBody})
			}
			first := authenticate(t, a, "https://api.example/")
			if refuse(first) {
				t.Error("one that was made for the request was made anew")
			}
			time.Sleep(time.Minute)
			if !refuse(first) {
				t.Error("one that was kept was not made anew")
			}
			second := authenticate(t, a, "https://api.example/")
			if first.Header.Get("Authorization") == second.Header.Get("Authorization") && first.URL.RawQuery == second.URL.RawQuery {
				t.Error("it is the same")
			}
			if refuse(second) || !refuse(first) {
				t.Error("the newer one was made anew, or not used")
			}
		})
	}
}

func TestProvisionChecksTheKeyOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DIR", dir)
	t.Setenv("KEY", "hunter2")
	for lines, want := range map[string]string{
		"key file {env.DIR}/key":                   "jwt: key in " + file + " is not a private key in PEM",
		"key file {env.DIR}/absent":                "jwt: key: open " + dir + "/absent: no such file",
		"key file {env.ABSENT}":                    "jwt: key file: ",
		"key {env.KEY}":                            "jwt: key is not a private key in PEM",
		"key {env.ABSENT}":                         "jwt: key: placeholder {env.ABSENT}",
		"key {credential.k}\nclaim a {env.ABSENT}": "jwt: claim a: placeholder {env.ABSENT}",
	} {
		err := read(t, "jwt {\nalgorithm ES256\n"+lines+"\n}").Provision(caddy.Context{})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", lines, err)
		}
	}

	// In a file that a Caddyfile names as it is, the key's line is told.
	_, err := unmarshal(t, "jwt {\nkey file "+file+"\nalgorithm ES256\n}")
	if err == nil || !strings.Contains(err.Error(), "is not a private key in PEM") || !strings.HasSuffix(err.Error(), "Testfile:2") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	a := bind(t, provision(t, "jwt {\nalgorithm HS256\nkey file "+file+"\n}"), "{}")
	if _, claims := claimsOf(strings.TrimPrefix(authenticate(t, a, "https://api.example/").Header.Get("Authorization"), "Bearer "), "hunter2"); claims == nil {
		t.Error("it is not signed with the file's key")
	}
}

func BenchmarkKeptJWT(b *testing.B) {
	a := bind(b, read(b, jwtLines("claim iss {credential.iss}")), `{"key": "a secret", "iss": "me"}`)
	req := newRequest(b, "https://api.example/")
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Authenticate(req, nil); err != nil {
			b.Fatal(err)
		}
	}
}
