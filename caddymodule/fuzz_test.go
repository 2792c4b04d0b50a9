package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{
		"upstream_auth {\n store local a {\n key_file b\n }\n provider a {\n header A {credential.a}\n }\n}",
		"upstream_auth {\n store vault {\n auth token_file /t\n }\n journal j\n}",
		"upstream_auth {\n provider a {\n oauth2 {\n rotation grace 3s\n takeover never\n param a b\n }\n }\n}",
		"upstream_auth billing a:1 {\n tenant {x}\n refresh_on @a\n @a status 4xx\n header_up a b\n}",
		"upstream_auth billing {\n}", "upstream_auth a {\n tenants\n", "upstream_auth {\n store vault {\n auth approle {\n",
		"upstream_auth a {\n replay_max_body 99999999999999EiB\n}", "upstream_auth {\n provider", "upstream_auth \"\" {",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev") || strings.Contains(text, "/proc") {
			t.Skip("not a file to read")
		}
		app := new(App)
		if err := app.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err == nil && app.StoreRaw == nil {
			t.Error("accepted without a store")
		}
		handler := new(Handler)
		tokens, err := handler.unmarshalOwn(caddyfile.NewTestDispenser(text))
		if err == nil && (handler.Provider == "" || len(tokens) == 0) {
			t.Errorf("accepted without a provider")
		}
	})
}
