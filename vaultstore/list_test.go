package vaultstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// lists makes a fault that answers requests for lists, by path below the metadata.
func lists(names map[string][]string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		below, isList := strings.CutPrefix(r.URL.Path, "/v1/secret/metadata")
		switch keys := names[strings.Trim(below, "/")]; {
		case !isList:
			return false
		case keys == nil:
			refuse(w, http.StatusNotFound)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"keys": keys}})
		}
		return true
	}
}

// hostileNames are none that a tenant has.
var hostileNames = []string{
	"", "/", "//", ".", "..", "../", "../../sys/", "a/b", "a/b/", "/a", "acme//", "a..b", "a..b/", "_journal", "_journal/", "a b/", "a?list=true/",
	"a%2fb/", "a\x00/", "ü/", strings.Repeat("x", 129), strings.Repeat("x", 129) + "/", "{tenant}/", "*/", "+/",
}

func TestListPassesOverForeignNames(t *testing.T) {
	want := []credential.Tenant{"0", "Acme", "acme"}
	t.Run("documents", func(t *testing.T) {
		store, vault := newScripted(t, nil)
		vault.fault = lists(map[string][]string{"upstream-auth/p": append(hostileNames, "acme", "acme", "folder/", "0", "Acme")})
		if tenants, err := store.List(t.Context(), "p", "", 9); err != nil || !slices.Equal(tenants, want) {
			t.Errorf("%q, %v; want %q", tenants, err, want)
		}
	})
	t.Run("folders", func(t *testing.T) {
		store, vault := newScripted(t, func(c *Config) { c.PathTemplate = "x/{tenant}/y/{provider}" })
		names := map[string][]string{"x": append(hostileNames, "acme/", "acme/", "document", "0/", "Acme/", "folder/", "other/")}
		for _, tenant := range []string{"acme", "0", "Acme"} {
			names["x/"+tenant+"/y"] = append(hostileNames, "p")
		}
		names["x/folder/y"], names["x/other/y"] = []string{"p/"}, []string{"q"}
		vault.fault = lists(names)
		if tenants, err := store.List(t.Context(), "p", "", 9); err != nil || !slices.Equal(tenants, want) {
			t.Errorf("%q, %v; want %q", tenants, err, want)
		}
		for _, request := range vault.requests {
			if strings.HasPrefix(request, "GET secret/") && !strings.HasPrefix(request, "GET secret/metadata/x") {
				t.Errorf("request %q", request)
			}
		}
		if n := vault.count("GET secret/metadata/x/"); n != 5 {
			t.Errorf("%d folders were looked into, want 5", n)
		}
	})
}

func TestListLooksNoFurtherThanItsLimit(t *testing.T) {
	store, vault := newScripted(t, func(c *Config) { c.PathTemplate = "{tenant}/{provider}" })
	names := map[string][]string{}
	for n := range 100 {
		tenant := fmt.Sprintf("t%02d", n)
		names[""] = append(names[""], tenant+"/")
		names[tenant] = []string{"p"}
	}
	vault.fault = lists(names)
	tenants, err := store.List(t.Context(), "p", "t49", 2)
	if want := []credential.Tenant{"t50", "t51"}; err != nil || !slices.Equal(tenants, want) {
		t.Errorf("%q, %v; want %q", tenants, err, want)
	}
	if n := vault.count("GET secret/metadata/"); n > maxLooks {
		t.Errorf("%d folders were looked into, want %d at most", n, maxLooks)
	}
	if tenants, err := store.List(t.Context(), "p", "", 1000); err != nil || len(tenants) != 100 {
		t.Errorf("%d tenants, %v; want 100", len(tenants), err)
	}
}

func TestListOfNothingAsksForNothing(t *testing.T) {
	store, vault := newScripted(t, nil)
	if tenants, err := store.List(t.Context(), "p", "", 0); err != nil || len(tenants) != 0 {
		t.Errorf("%q, %v", tenants, err)
	}
	if _, err := store.List(t.Context(), "../p", "", 9); err == nil {
		t.Error("the provider's name was taken")
	}
	if n := vault.count(""); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestFailedListsAreUnavailableAndLeakNothing(t *testing.T) {
	leak := fmt.Sprintf("boom at secret/metadata/upstream-auth/billing/%s with %s", secretTenant, secretToken)
	for _, template := range []string{DefaultPathTemplate, "{tenant}/{provider}"} {
		for name, c := range map[string]struct {
			fault func(http.ResponseWriter, *http.Request) bool
			want  string
		}{
			"sealed":     {onDocument(503, "Vault is sealed"), "Vault is sealed"},
			"policy":     {onDocument(403, "1 error occurred:\n\t* permission denied\n\n", leak), "the store's policy does not allow list on secret/metadata/"},
			"no route":   {onDocument(404, "no handler for route \""+leak+"\""), "no handler for route"},
			"warning":    {raw(404, `{"errors":[],"warnings":["Invalid path for a versioned K/V secrets engine. `+leak+`"]}`), "Invalid path"},
			"another's":  {raw(404, "<html>"+leak), "status 404"},
			"a document": {raw(200, `{"data":{"data":{"a":1},"metadata":{"version":1}}}`), "status 200"},
			"no names":   {raw(200, `{"data":{"keys":[1,2]}}`), "status 200"},
			"enormous":   {raw(200, `{"data":{"keys":["`+strings.Repeat("x", maxAnswer)+`"]}}`), "too large"},
		} {
			t.Run(name+" "+template, func(t *testing.T) {
				store, vault := newScripted(t, func(c *Config) { c.PathTemplate = template })
				vault.fault = c.fault
				tenants, err := store.List(t.Context(), "billing", "", 9)
				if !errors.Is(err, credential.ErrUnavailable) || len(tenants) != 0 || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("%q, error %v; want %q", tenants, err, c.want)
				}
				for e := err; e != nil; e = errors.Unwrap(e) {
					checkNoSecret(t, fmt.Sprintf("%v %+v %#v", e, e, e))
				}
			})
		}
	}
}

func TestListFailsWithOneOfItsFolders(t *testing.T) {
	store, vault := newScripted(t, func(c *Config) { c.PathTemplate = "{tenant}/{provider}" })
	names := lists(map[string][]string{"": {"acme/", "globex/", secretTenant + "/"}, "acme": {"p"}, "globex": {"p"}})
	vault.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, secretTenant) {
			refuse(w, 500, "boom at "+secretTenant)
			return true
		}
		return names(w, r)
	}
	tenants, err := store.List(t.Context(), "p", "", 9)
	if !errors.Is(err, credential.ErrUnavailable) || len(tenants) != 0 {
		t.Fatalf("%q, error %v; want ErrUnavailable", tenants, err)
	}
	checkNoSecret(t, err.Error())
}

func TestListTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newOnHandler(t, hanging(t, "/v1/secret/"), nil)
		start := time.Now()
		if _, err := store.List(t.Context(), "p", "", 9); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took != listTimeout {
			t.Errorf("took %v, want %v", took, listTimeout)
		}
	})
}

func TestListAsksTheActiveNode(t *testing.T) {
	store, vault := newScripted(t, nil)
	vault.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/secret/") && r.Header.Get("X-Vault-Forward") != "active-node" {
			t.Error("a request without the header")
		}
		return false
	}
	if tenants, err := store.List(t.Context(), "p", "", 9); err != nil || len(tenants) != 1 {
		t.Errorf("%q, %v", tenants, err)
	}
}
