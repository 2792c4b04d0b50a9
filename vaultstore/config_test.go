package vaultstore

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func validConfig() Config {
	return Config{Address: "https://vault.example:8200", Auth: AuthConfig{Method: MethodJWT, JWTFile: "/run/jwt"}}
}

func TestConfigIsValidated(t *testing.T) {
	junk := writeFile(t, "junk")
	cases := []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty: valid
	}{
		{"minimal", func(*Config) {}, ""},
		{"no address", func(c *Config) { c.Address = "" }, "$VAULT_ADDR"},
		{"http to a name", func(c *Config) { c.Address = "http://vault.example" }, "use https"},
		{"http to an address", func(c *Config) { c.Address = "http://10.0.0.1:8200" }, "use https"},
		{"http to a name like localhost", func(c *Config) { c.Address = "http://localhost.example" }, "use https"},
		{"http to localhost", func(c *Config) { c.Address = "http://LocalHost:8200" }, ""},
		{"http to 127.0.0.2", func(c *Config) { c.Address = "http://127.0.0.2:8200" }, ""},
		{"http to ::1", func(c *Config) { c.Address = "http://[::1]:8200" }, ""},
		{"unix socket", func(c *Config) { c.Address = "unix:///run/vault.sock" }, "not a URL"},
		{"another scheme", func(c *Config) { c.Address = "ftp://vault.example" }, "not https"},
		{"no scheme", func(c *Config) { c.Address = "vault.example:8200" }, "not a URL"},
		{"no URL", func(c *Config) { c.Address = "https://[" }, "not a URL"},
		{"password in the address", func(c *Config) { c.Address = "https://u:p@vault.example" }, "more than"},
		{"query in the address", func(c *Config) { c.Address = "https://vault.example?x" }, "more than"},
		{"path in the address", func(c *Config) { c.Address = "https://gateway.example/vault/" }, ""},
		{"version 1", func(c *Config) { c.KVVersion = 1 }, ""},
		{"version 3", func(c *Config) { c.KVVersion = 3 }, "kv_version"},
		{"negative timeout", func(c *Config) { c.Timeout = -1 }, "timeout"},
		{"mount with slashes around", func(c *Config) { c.Mount = "/team/kv/" }, ""},
		{"mount that climbs", func(c *Config) { c.Mount = "a/../sys" }, "mount"},
		{"mount with an empty segment", func(c *Config) { c.Mount = "a//b" }, "mount"},
		{"mount with a question mark", func(c *Config) { c.Mount = "a?b" }, "mount"},
		{"namespace that climbs", func(c *Config) { c.Namespace = "../a" }, "namespace"},
		{"template at the root", func(c *Config) { c.PathTemplate = "{provider}/{tenant}" }, ""},
		{"template turned round", func(c *Config) { c.PathTemplate = "a/{tenant}/b/{provider}/c" }, ""},
		{"no tenant", func(c *Config) { c.PathTemplate = "a/{provider}" }, "{tenant}"},
		{"no provider", func(c *Config) { c.PathTemplate = "a/{tenant}" }, "{provider}"},
		{"tenant twice", func(c *Config) { c.PathTemplate = "{provider}/{tenant}/{tenant}" }, "{tenant}"},
		{"tenant in a part of a segment", func(c *Config) { c.PathTemplate = "{provider}/x-{tenant}" }, "segment"},
		{"both in one segment", func(c *Config) { c.PathTemplate = "{provider}{tenant}" }, "segment"},
		{"another placeholder", func(c *Config) { c.PathTemplate = "{env.X}/{provider}/{tenant}" }, "segment"},
		{"leading slash", func(c *Config) { c.PathTemplate = "/{provider}/{tenant}" }, "segment"},
		{"trailing slash", func(c *Config) { c.PathTemplate = "{provider}/{tenant}/" }, "segment"},
		{"climbing", func(c *Config) { c.PathTemplate = "../{provider}/{tenant}" }, "segment"},
		{"percent", func(c *Config) { c.PathTemplate = "a%2fb/{provider}/{tenant}" }, "segment"},
		{"below the reserved path", func(c *Config) { c.PathTemplate = "upstream-auth/_journal/{provider}/{tenant}" }, "reserved"},
		{"below the links' path", func(c *Config) { c.PathTemplate = "upstream-auth/_links/{provider}/{tenant}" }, "reserved"},
		{"beside the reserved path", func(c *Config) { c.PathTemplate = "upstream-auth/_journals/{provider}/{tenant}" }, ""},
		{"no auth", func(c *Config) { c.Auth = AuthConfig{} }, "auth is missing"},
		{"unknown auth", func(c *Config) { c.Auth = AuthConfig{Method: "userpass"} }, "userpass"},
		{"token_file", func(c *Config) { c.Auth = AuthConfig{Method: "token_file", TokenFile: "f"} }, ""},
		{"token_file without a file", func(c *Config) { c.Auth = AuthConfig{Method: "token_file"} }, "needs token_file"},
		{"token_file with a mount", func(c *Config) { c.Auth = AuthConfig{Method: "token_file", TokenFile: "f", Mount: "m"} }, "takes no mount"},
		{"approle", func(c *Config) { c.Auth = AuthConfig{Method: "approle", RoleID: "r", SecretIDFile: "f"} }, ""},
		{"approle without a role", func(c *Config) { c.Auth = AuthConfig{Method: "approle", SecretIDFile: "f"} }, "needs one of role_id_file and role_id"},
		{"approle with two roles", func(c *Config) {
			c.Auth = AuthConfig{Method: "approle", RoleID: "r", RoleIDFile: "f", SecretIDFile: "f"}
		}, "both"},
		{"approle without a secret id", func(c *Config) { c.Auth = AuthConfig{Method: "approle", RoleIDFile: "f"} }, "needs secret_id_file"},
		{"approle with a token file", func(c *Config) {
			c.Auth = AuthConfig{Method: "approle", RoleID: "r", SecretIDFile: "f", TokenFile: "t"}
		}, "takes no token_file"},
		{"kubernetes", func(c *Config) { c.Auth = AuthConfig{Method: "kubernetes", Role: "r"} }, ""},
		{"kubernetes without a role", func(c *Config) { c.Auth = AuthConfig{Method: "kubernetes"} }, "needs role"},
		{"jwt without a file", func(c *Config) { c.Auth = AuthConfig{Method: "jwt", Role: "r"} }, "needs file"},
		{"jwt with a secret id", func(c *Config) { c.Auth.SecretIDFile = "f" }, "takes no secret_id_file"},
		{"auth mount that climbs", func(c *Config) { c.Auth.Mount = "../token" }, "auth mount"},
		{"CA that is not there", func(c *Config) { c.TLSCA = "/nonexistent/ca" }, "/nonexistent/ca"},
		{"CA that is none", func(c *Config) { c.TLSCA = junk }, "no PEM certificate"},
		{"certificate without a key", func(c *Config) { c.TLSClientCert = junk }, "go together"},
		{"key without a certificate", func(c *Config) { c.TLSClientKey = junk }, "go together"},
		{"certificate that is none", func(c *Config) { c.TLSClientCert, c.TLSClientKey = junk, junk }, "tls_client_cert"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := validConfig()
			c.change(&cfg)
			store, err := New(cfg, nil)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if invalid := cfg.Validate(); invalid == nil && err != nil && !strings.HasPrefix(err.Error(), "tls_") || invalid != nil && err == nil {
				t.Errorf("New: %v, Validate: %v", err, invalid)
			}
			if store != nil {
				store.Close()
			}
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	cfg := Config{Address: "https://vault.example/", Namespace: "/a/", Mount: "/m/", Auth: AuthConfig{Method: "kubernetes", Role: "r", Mount: "/k/"}}
	want := Config{
		Address: "https://vault.example", Namespace: "a", Mount: "m", KVVersion: 2,
		PathTemplate: "upstream-auth/{provider}/{tenant}", Timeout: 2 * time.Second,
		Auth: AuthConfig{Method: "kubernetes", Role: "r", Mount: "k", JWTFile: defaultServiceAccountFile},
	}
	if got := cfg.WithDefaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if twice := want.WithDefaults(); !reflect.DeepEqual(twice, want) {
		t.Errorf("defaults of defaults: %+v", twice)
	}
}

func TestConfigInJSON(t *testing.T) {
	text := `{"address":"https://vault.example","namespace":"n","mount":"m","kv_version":2,"path":"{provider}/{tenant}",` +
		`"auth":{"method":"approle","token_file":"t","role_id":"r","role_id_file":"rf","secret_id_file":"sf","role":"ro","file":"jf","mount":"am"},` +
		`"tls_ca":"ca","tls_client_cert":"cc","tls_client_key":"ck","tls_server_name":"sn","timeout":2000000000}`
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(cfg)
	if err != nil || string(back) != text {
		t.Errorf("%s became %s, error %v", text, back, err)
	}
	if empty, _ := json.Marshal(Config{}); string(empty) != `{}` {
		t.Errorf("the empty configuration is %s", empty)
	}
}
