package hosts

import (
	"strings"
	"testing"
)

func TestAllowedHosts(t *testing.T) {
	for _, test := range []struct {
		pattern string
		allowed string // separated by spaces
		refused string
	}{
		{"api.example.com", "api.example.com API.Example.COM api.example.com. api.example.com:443 api.example.com:",
			"example.com x.api.example.com api.example.com.evil.com api.example.org api.example.comx api.example.com..  api.example.com:x api.example.com:0 api.example.com:99999 api.example.com:443:443 user@api.example.com api.example.com/ api.example.com\x00 [api.example.com]"},
		{"API.Example.com.", "api.example.com", "example.com"},
		{"*.example.com", "a.example.com A.EXAMPLE.com. a-b_c.example.com:8443", "example.com .example.com a.b.example.com a.example.com.evil.com *.example.com"},
		{"api.example.com:8443", "api.example.com:8443", "api.example.com api.example.com:443 api.example.com:08443x"},
		{"*.example.com:443", "a.example.com:443", "a.example.com a.example.com:8443"},
		{"192.0.2.1", "192.0.2.1 192.0.2.1:80 ::ffff:192.0.2.1 [::ffff:192.0.2.1]:80", "192.0.2.10 192.0.2 1.192.0.2.1 192.0.2.1.example.com"},
		{"2001:db8::1", "2001:db8::1 [2001:db8::1] [2001:DB8:0::1]:443", "2001:db8::2 [2001:db8::1 2001:db8::1] [2001:db8::1]443 [2001:db8::1]:x"},
		{"[2001:db8::1]:443", "[2001:db8::1]:443", "[2001:db8::1]:80 2001:db8::1"},
		{"localhost", "localhost localhost:8080", "localhost.localdomain"},
	} {
		list, err := Parse([]string{"other.example", test.pattern})
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range strings.Fields(test.allowed) {
			if !list.Allows(host) {
				t.Errorf("%s refuses %q", test.pattern, host)
			}
		}
		for _, host := range append(strings.Fields(test.refused), "") {
			if list.Allows(host) {
				t.Errorf("%s allows %q", test.pattern, host)
			}
		}
	}
	if list, err := Parse(nil); err != nil || list != nil || !list.Allows("anything at all") {
		t.Error("no list does not allow any host")
	}
}

func TestHostPatternsThatAreNone(t *testing.T) {
	for _, pattern := range []string{"", "*", "*.", "*.*.example.com", "a.*.example.com", "*example.com", "https://example.com", "example.com/path",
		"example.com:0", "example.com:http", "example..com", ".example.com", "ex ample.com", "exämple.com", "*.192.0.2.1", "*.[2001:db8::1]", "[192.0.2.1]", "{env.HOST}"} {
		if list, err := Parse([]string{pattern}); err == nil || !strings.Contains(err.Error(), "is not a host name") {
			t.Errorf("%q: %v, %v", pattern, list, err)
		}
	}
}

func TestBothHostsHaveToBeOnTheList(t *testing.T) {
	list, err := Parse([]string{"api.example.com", "port.example:8443"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dialed, named string
		allowed       bool
	}{
		{"api.example.com", "api.example.com", true},
		{"api.example.com:443", "API.example.com.", true},
		{"api.example.com", "evil.example", false},
		{"evil.example", "api.example.com", false},
		{"api.example.com", "", false},
		{"", "api.example.com", false},
		{"port.example:8443", "port.example", true},
		{"port.example:8443", "port.example:8443", true},
		{"port.example:443", "port.example:8443", false},
		{"port.example", "port.example:8443", false},
		{"port.example:8443", "port.example:443", false},
		{"192.0.2.1%3A5000->10.0.0.1%3A80", "api.example.com", false},
	} {
		if list.AllowsBoth(test.dialed, test.named) != test.allowed {
			t.Errorf("%+v", test)
		}
	}
	if !List(nil).AllowsBoth("anything", "at all") {
		t.Error("no list does not allow any host")
	}
}

func FuzzHosts(f *testing.F) {
	for _, host := range []string{"api.example.com", "a.example.com:443", "[2001:db8::1]:443", "192.0.2.1", "*.example.com", "::1", "a.example.com.", "[::1%eth0]"} {
		f.Add(host)
	}
	list, err := Parse([]string{"api.example.com", "*.example.com:443"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if list.Allows(host) {
			name, _, _ := strings.Cut(strings.ToLower(host), ":")
			if !strings.HasSuffix(strings.TrimSuffix(name, "."), ".example.com") {
				t.Errorf("%q is allowed", host)
			}
		}
		// A host that makes a pattern is allowed by it, and the pattern is stable.
		if own, err := Parse([]string{host}); err == nil && !strings.HasPrefix(host, "*.") && !own.Allows(host) {
			t.Errorf("%q does not allow itself", host)
		}
	})
}
