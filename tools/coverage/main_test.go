package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// setenv has what [examineAll] sets put back.
func setenv(t *testing.T) {
	t.Helper()
	for _, name := range []string{"CLIENT_ID", "CLIENT_SECRET", "CREDENTIALS_DIRECTORY", "HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, os.Getenv(name))
	}
}

func reportOf(t *testing.T, file string) string {
	t.Helper()
	setenv(t)
	var b bytes.Buffer
	if err := run(&b, file, ""); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReport(t *testing.T) {
	want, err := os.ReadFile("testdata/report.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := reportOf(t, "testdata/apis.jsonl"); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReportOfTheFileThatIsNamed(t *testing.T) {
	file := os.Getenv("COVERAGE_FILE")
	if file == "" {
		t.Skip("COVERAGE_FILE names no file")
	}
	t.Log("\n" + reportOf(t, file))
}

func TestCaddyfileOfALineIsPrinted(t *testing.T) {
	var b bytes.Buffer
	if err := run(&b, "testdata/apis.jsonl", "key-query"); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"query key {credential.api_key}", "base_path /api/{credential.accountId}", "expose subdomain", "allowed_hosts *.two.example",
		"upstream_auth api {upstream_auth.credential.subdomain}.two.example:443 {",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("without %q:\n%s", line, &b)
		}
	}
	if err := run(&b, "testdata/apis.jsonl", "nobody"); err == nil {
		t.Error("a line that is not there has a Caddyfile")
	}
}

// What a provider does otherwise than a line says is a reason, each of them.
func TestOtherThanTheLineSaysIsNotCovered(t *testing.T) {
	const (
		key    = `{"api":"x","method":"api_key","base_url":"https://{credential.sub}.one.example/v1","headers":{"x-key":"{credential.api_key}","accept":"application/json"},"query":{"k":"{credential.api_key}"}}`
		code   = `{"api":"x","method":"oauth2_authorization_code","base_url":"https://api.one.example","authorization_url":"https://one.example/authorize?x=1","token_url":"https://one.example/token?y=1","authorization_params":{"prompt":"consent"},"token_params":{"expires":1},"refresh_params":{"ttl":"9"},"scope_separator":",","token_headers":{"x-caller":"us"},"kept_from_response":["team"]}`
		client = `{"api":"x","method":"oauth2_client_credentials","base_url":"https://api.one.example","token_url":"https://one.example/token","token_params":{"grant_type":"client_credentials"},"client_auth":"basic"}`
		jwt    = `{"api":"x","method":"jwt","base_url":"https://api.one.example","headers":{"authorization":"Bearer {credential.access_token}"},"signature":{"protocol":"HMAC","hmac_secret_encoding":"utf8"},"token":{"expires_in_ms":60000,"header":{"alg":"HS256"},"payload":{"iss":"me"},"signing_key":"{credential.secret}"}}`
	)
	for name, test := range map[string]struct {
		line   string
		change func(*api)
		want   string
	}{
		"header":                  {key, func(a *api) { a.header["x-key"] = "other" }, "header x-key"},
		"constant header":         {key, func(a *api) { a.header["accept"] = "text/plain" }, "header accept"},
		"further header":          {key, func(a *api) { delete(a.header, "accept") }, "2 headers are set"},
		"query":                   {key, func(a *api) { a.query["k"] = "other" }, "query parameter k"},
		"path":                    {key, func(a *api) { a.base += "/more" }, "the request is for"},
		"host":                    {key, func(a *api) { a.base = "https://other.example/v1" }, "requests go to sub-1.one.example:443"},
		"credential":              {key, func(a *api) { a.document = []byte(`{"sub":"x"}`) }, "the credential is refused"},
		"authorization URL":       {code, func(a *api) { a.code.authorizationURL = "https://two.example/authorize" }, "authorization request: it goes to"},
		"authorization query":     {code, func(a *api) { a.code.authorizationURL += "&z=1" }, "z in its URL"},
		"authorization parameter": {code, func(a *api) { a.code.params["prompt"] = "none" }, "parameter prompt"},
		"scope":                   {code, func(a *api) { a.code.params["scope"] = "one two" }, "parameter scope"},
		"PKCE":                    {code, func(a *api) { a.code.withoutPKCE = true }, "the code is not spent"},
		"code's parameter":        {code, func(a *api) { a.code.request.params["expires"] = "2" }, "code request: parameter expires"},
		"code's URL":              {code, func(a *api) { a.code.request.url = "https://one.example/other" }, "code request: it goes to"},
		"refresh's parameter":     {code, func(a *api) { a.renewal.params["ttl"] = "8" }, "token request: parameter ttl"},
		"token header":            {code, func(a *api) { a.renewal.header["x-caller"] = "them" }, "token request: header x-caller"},
		"kept":                    {code, func(a *api) { a.answer.kept = append(a.answer.kept, "user") }, "user of the answer is not kept"},
		"token's place":           {code, func(a *api) { a.answer.token = "elsewhere" }, "the answer of the token endpoint is refused"},
		"lifetime":                {code, func(a *api) { a.answer.milliseconds = true }, "lifetime"},
		"client authentication":   {client, func(a *api) { a.renewal.clientAuth = "post" }, "parameter client_id"},
		"format":                  {client, func(a *api) { a.renewal.format = "json" }, `its parameters are "form"`},
		"what is spent":           {client, func(a *api) { a.renewal.refreshing = true }, "what is spent"},
		"claim":                   {jwt, func(a *api) { a.jwt.claims["iss"] = "you" }, "iss of the JSON Web Token"},
		"signature":               {jwt, func(a *api) { a.jwt.verifyBy = []byte("another secret, which is long enough") }, "signature"},
		"JWT's lifetime":          {jwt, func(a *api) { a.jwt.lifetime = 5 }, "lives for"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t)
			for name, value := range map[string]string{"CLIENT_ID": clientID, "CLIENT_SECRET": clientSecret, "CREDENTIALS_DIRECTORY": t.TempDir()} {
				t.Setenv(name, value)
			}
			a := read([]byte(test.line))
			if a.examine(); len(a.gaps) > 0 {
				t.Fatal(a.gaps)
			}
			a = read([]byte(test.line))
			test.change(a)
			if a.examine(); !strings.Contains(strings.Join(a.gaps, "\n"), test.want) {
				t.Errorf("%q", a.gaps)
			}
		})
	}
}

// Whatever a line says, it is read.
func FuzzRead(f *testing.F) {
	lines, err := readLines("testdata/apis.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range lines {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if a := read(line); len(a.gaps) == 0 && a.caddyfile() == "" {
			t.Error("a line without gaps has no Caddyfile")
		}
	})
}
