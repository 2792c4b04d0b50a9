package vaultstore

import (
	"path"
	"strings"
	"testing"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

func TestSecretPath(t *testing.T) {
	key := credential.Key{Provider: "salesforce", Tenant: "ACME.eu@x"}
	cases := []struct {
		cfg  Config
		want string
	}{
		{Config{}, "secret/data/upstream-auth/salesforce/ACME.eu@x"},
		{Config{KVVersion: 1}, "secret/upstream-auth/salesforce/ACME.eu@x"},
		{Config{Mount: "/team/kv/", PathTemplate: "{tenant}/c/{provider}"}, "team/kv/data/ACME.eu@x/c/salesforce"},
	}
	for _, c := range cases {
		full := c.cfg.WithDefaults()
		if got, err := full.secretPath(key); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v; want %q", c.cfg, got, err, c.want)
		}
	}
}

func TestSecretPathIsTheSecondWall(t *testing.T) {
	// Configurations that Validate refuses, as if it had not been asked.
	key := credential.Key{Provider: "p", Tenant: "t"}
	for _, template := range []string{"../{provider}/{tenant}", "{provider}//{tenant}", "{provider}/{tenant}/", "./{provider}/{tenant}", "{provider}/x", "{provider}/{tenant}/../x"} {
		cfg := Config{PathTemplate: template}.WithDefaults()
		if got, err := cfg.secretPath(key); err == nil {
			t.Errorf("%s: %q", template, got)
		}
	}
}

// fuzzTemplates are valid ones: chance finds few.
var fuzzTemplates = []string{
	DefaultPathTemplate, "{provider}/{tenant}", "{tenant}/{provider}", "upstream-auth/{tenant}/{provider}", "{provider}/{tenant}/x",
	"upstream-auth/{tenant}/_journal/{provider}", "data/{provider}/metadata/{tenant}", "a.b/{provider}/c@d/{tenant}",
}

// FuzzPath checks that no two keys share a path, and that none leaves its prefix.
func FuzzPath(f *testing.F) {
	f.Add(byte(0), "", "secret", true, "p", "a", "p", "b")
	f.Add(byte(1), "", "kv", false, "a", "b", "b", "a")
	f.Add(byte(2), "", "kv", true, "p", "../q/t", "q", "t")
	f.Add(byte(1), "", "secret", false, "upstream-auth", "_journal", "x", "../../sys/seal-status")
	f.Add(byte(5), "", "a/b", true, "p", "t.", "p", "T.")
	f.Add(byte(255), "{tenant}/../{provider}", "a//b", true, "p", "t%2fx", "p", "t/x")
	f.Add(byte(255), "upstream-auth/{provider}-{tenant}", "secret", true, "p-a", "b", "p", "a-b")
	f.Fuzz(func(t *testing.T, choice byte, template, mount string, version1 bool, provider1, tenant1, provider2, tenant2 string) {
		if int(choice) < len(fuzzTemplates) {
			template = fuzzTemplates[choice]
		}
		cfg := Config{Address: "https://v", Mount: mount, PathTemplate: template, Auth: AuthConfig{Method: MethodJWT, JWTFile: "f"}}
		if version1 {
			cfg.KVVersion = 1
		}
		if cfg.Validate() != nil {
			return
		}
		cfg = cfg.WithDefaults()
		key1 := credential.Key{Provider: provider1, Tenant: credential.Tenant(tenant1)}
		key2 := credential.Key{Provider: provider2, Tenant: credential.Tenant(tenant2)}
		path1, err1 := cfg.secretPath(key1)
		path2, err2 := cfg.secretPath(key2)
		if (err1 == nil) != (key1.Check() == nil) || (err2 == nil) != (key2.Check() == nil) {
			t.Fatalf("%v for %+v, %v for %+v", err1, key1, err2, key2)
		}
		if err1 != nil {
			return
		}
		prefix := cfg.Mount + "/"
		if !version1 {
			prefix += "data/"
		}
		rest, inside := strings.CutPrefix(path1, prefix)
		if !inside || path.Clean("/v1/"+path1) != "/v1/"+path1 || strings.Contains(path1, "..") || strings.ContainsAny(path1, "%?#\\ \x00") {
			t.Fatalf("%q leaves %q", path1, prefix)
		}
		for _, own := range []string{"upstream-auth/_journal", "upstream-auth/_links"} {
			if !key1.IsOwn() && (rest == own || strings.HasPrefix(rest, own+"/")) {
				t.Fatalf("%q is reserved", path1)
			}
		}
		segments := strings.Split(rest, "/")
		for n := range segments {
			listed, err := cfg.listPath(segments[:n])
			want := path.Dir(path.Join(cfg.Mount, "metadata", path.Join(segments[:n]...), "x"))
			if version1 {
				want = path.Dir(path.Join(cfg.Mount, path.Join(segments[:n]...), "x"))
			}
			if err != nil || listed != want {
				t.Fatalf("the list above %q is at %q, %v; want %q", path1, listed, err, want)
			}
		}
		if err2 == nil && (path1 == path2) != (key1 == key2) {
			t.Fatalf("%+v is at %q, %+v at %q", key1, path1, key2, path2)
		}
	})
}
