package proxy

import (
	"net/http"
	"strings"
	"testing"
)

func TestInsufficientScope(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{`Bearer`}, false},
		{[]string{`Bearer error="invalid_token"`}, false},
		{[]string{`Bearer error="insufficient_scope"`}, true},
		{[]string{`bearer ERROR="insufficient_scope"`}, true},
		{[]string{`Bearer error=insufficient_scope`}, true},
		{[]string{`Bearer error = "insufficient_scope"`}, true},
		{[]string{`Bearer realm="x",error="insufficient_scope",scope="a"`}, true},
		{[]string{`Bearer realm="x" error="insufficient_scope"`}, true},
		{[]string{`Basic realm="a, b", Bearer realm="x", error="insufficient_scope"`}, true},
		{[]string{`Basic realm="a"`, `Bearer error="insufficient_scope"`}, true},
		{[]string{`Negotiate YWJj==, Bearer error="insufficient_scope"`}, true},
		{[]string{`Bearer error="insufficient\_scope"`}, true},
		{[]string{`Bearer error="insufficient_scope_x"`}, false},
		{[]string{`Bearer error_description="insufficient_scope"`}, false},
		{[]string{`Bearer realm="error=insufficient_scope"`}, false},
		{[]string{`Bearer realm=", error=\"insufficient_scope\""`}, false},
		{[]string{`Bearer realm="\\", error="insufficient_scope"`}, true},
		{[]string{`Bearer realm="error=insufficient_scope`}, false},
		{[]string{`Bearer "x, error=insufficient_scope"`}, false},
		{[]string{`Bearer x"y, error=insufficient_scope"`}, false},
		{[]string{`Bearer error="insufficient_scope`}, false},
		{[]string{`Bearer error=`, `="insufficient_scope"`}, false},
		{[]string{`Bearer xerror="insufficient_scope"`}, false},
		{[]string{`,, ,	error="insufficient_scope"`}, true},
		{[]string{`Bearer realm="\`}, false},
	} {
		if got := insufficientScope(http.Header{"Www-Authenticate": test.lines}); got != test.want {
			t.Errorf("%q: %v", test.lines, got)
		}
	}
}

func FuzzInsufficientScope(f *testing.F) {
	for _, s := range []string{"", "x", `a"b`, `a\b`, `, error=insufficient_scope`, `", error="insufficient_scope`, "a=b", "\t", "é"} {
		f.Add(s)
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, s string) {
		insufficientScope(http.Header{"Www-Authenticate": {s, s}}) // Ends, and does not panic.
		// Whatever stands in a string is not a parameter, and does not hide one.
		realm := `Bearer realm="` + escape.Replace(s) + `"`
		if insufficientScope(http.Header{"Www-Authenticate": {realm}}) {
			t.Errorf("%q: found", realm)
		}
		if line := realm + `, error="insufficient_scope"`; !insufficientScope(http.Header{"Www-Authenticate": {line}}) {
			t.Errorf("%q: not found", line)
		}
		if value, rest := quotedString(`"` + escape.Replace(s) + `" rest`); value != s || rest != " rest" {
			t.Errorf("%q: %q, %q", s, value, rest)
		}
	})
}
