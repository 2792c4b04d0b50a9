package bearer

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestConfigIsValidated(t *testing.T) {
	const missing = "/nonexistent/file"
	keySetURL := func(address string) Config {
		return Config{Token: Token{KeySetURL: address, Algorithms: []string{"RS256"}}}
	}
	cases := map[string]struct {
		config Config
		want   string // part of the error; empty: valid
	}{
		"secret":                        {Config{Token: Token{SecretFile: missing}}, ""},
		"secret and its algorithms":     {Config{Token: Token{SecretFile: missing, Algorithms: []string{"HS256", "HS384", "HS512"}}}, ""},
		"file with key set":             {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"ES256"}}}, ""},
		"all algorithms of a key set":   {Config{Token: Token{KeySetFile: missing, Algorithms: strings.Fields("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA")}}, ""},
		"no source":                     {Config{}, "token is missing"},
		"secret and key set":            {Config{Token: Token{SecretFile: missing, KeySetFile: missing}}, "exactly one"},
		"key sets in file and at URL":   {Config{Token: Token{KeySetFile: missing, KeySetURL: "https://a.example", Algorithms: []string{"RS256"}}}, "exactly one"},
		"three sources":                 {Config{Token: Token{SecretFile: missing, KeySetFile: missing, KeySetURL: "https://a.example"}}, "exactly one"},
		"key set without algorithms":    {Config{Token: Token{KeySetFile: missing}}, "needs the algorithms"},
		"key set with none":             {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"none"}}}, `"none"`},
		"key set with HS256":            {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"RS256", "HS256"}}}, `"HS256"`},
		"key set with HS512":            {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"HS512"}}}, `"HS512"`},
		"secret with none":              {Config{Token: Token{SecretFile: missing, Algorithms: []string{"none"}}}, `"none"`},
		"secret with RS256":             {Config{Token: Token{SecretFile: missing, Algorithms: []string{"RS256"}}}, `"RS256"`},
		"unknown algorithm":             {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"XS256"}}}, `"XS256"`},
		"algorithm in another case":     {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"rs256"}}}, `"rs256"`},
		"encryption":                    {Config{Token: Token{KeySetFile: missing, Algorithms: []string{"RSA-OAEP"}}}, `"RSA-OAEP"`},
		"empty algorithm":               {Config{Token: Token{KeySetFile: missing, Algorithms: []string{""}}}, `""`},
		"operators":                     {Config{Token: Token{SecretFile: missing}, Operators: Operators{Claim: "role", Value: "op"}}, ""},
		"operator claim alone":          {Config{Token: Token{SecretFile: missing}, Operators: Operators{Claim: "role"}}, "both"},
		"operator value alone":          {Config{Token: Token{SecretFile: missing}, Operators: Operators{Value: "op"}}, "both"},
		"https":                         {keySetURL("https://as.example/keys?policy=p"), ""},
		"http to localhost":             {keySetURL("http://LocalHost:8080/keys"), ""},
		"http to 127.0.0.2":             {keySetURL("http://127.0.0.2/keys"), ""},
		"http to ::1":                   {keySetURL("http://[::1]:1/keys"), ""},
		"http to a name":                {keySetURL("http://as.example/keys"), "must be https"},
		"http to an address":            {keySetURL("http://10.0.0.1/keys"), "must be https"},
		"http to a name like localhost": {keySetURL("http://localhost.example/keys"), "must be https"},
		"file URL":                      {keySetURL("file:///etc/keys"), "not an absolute URL"},
		"another scheme":                {keySetURL("ftp://as.example/keys"), "must be https"},
		"no scheme":                     {keySetURL("as.example/keys"), "not an absolute URL"},
		"opaque":                        {keySetURL("https:as.example"), "not an absolute URL"},
		"no URL":                        {keySetURL("https://["), "not an absolute URL"},
		"password":                      {keySetURL("https://u:p@as.example/keys"), "user information"},
		"fragment":                      {keySetURL("https://as.example/keys#a"), "fragment"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.config.Validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if _, newErr := New(c.config); (newErr == nil) != (err == nil) {
				t.Errorf("New: %v, Validate: %v", newErr, err)
			}
		})
	}
}

func TestConfigInJSON(t *testing.T) {
	text := `{"token":{"secret_file":"s","jwks_url":"u","jwks_file":"f","algorithms":["RS256"]},"issuer":"i","audience":"a",` +
		`"tenant_claim":"t","operators":{"claim":"c","value":"v"}}`
	var config Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(config)
	if err != nil || string(back) != text {
		t.Errorf("%s became %s, error %v", text, back, err)
	}
	if empty, _ := json.Marshal(Config{}); string(empty) != `{"token":{}}` {
		t.Errorf("the empty configuration is %s", empty)
	}
}
