package schemes_test

import (
	"strings"
	"testing"
)

func TestCookiesAreAddedToOneAnother(t *testing.T) {
	const document = `{"sid": "0123", "csrf": "a.b-c_d~e", "quoted": "\"ajax:42\""}`
	for name, c := range map[string]struct {
		left  []string // what the proxy, or a scheme before, left of Cookie
		lines []string
		want  string
	}{
		"one":          {nil, []string{"cookie session {credential.sid}"}, "session=0123"},
		"two":          {nil, []string{"cookie session {credential.sid}", "cookie csrf {credential.csrf}"}, "session=0123; csrf=a.b-c_d~e"},
		"to another's": {[]string{"theme=dark"}, []string{"cookie session {credential.sid}", "cookie csrf {credential.csrf}"}, "theme=dark; session=0123; csrf=a.b-c_d~e"},
		"with text":    {nil, []string{"cookie __Host-s v1.{credential.sid}/{credential.csrf}=="}, "__Host-s=v1.0123/a.b-c_d~e=="},
		"in quotes":    {nil, []string{"cookie JSESSIONID {credential.quoted}"}, `JSESSIONID="ajax:42"`},
		"after a header that is Cookie": {nil, []string{
			`header cookie "a=1; b={credential.sid}"`, "cookie session {credential.sid}",
		}, "a=1; b=0123; session=0123"},
		"before a header that is Cookie": {nil, []string{
			"cookie session {credential.sid}", `header cookie "a=1; b={credential.sid}"`,
		}, "session=0123; a=1; b=0123"},
	} {
		t.Run(name, func(t *testing.T) {
			req := newRequest(t, "https://api.example/")
			if c.left != nil {
				req.Header["Cookie"] = c.left
			}
			apply(t, req, document, c.lines...)
			if got := req.Header["Cookie"]; len(got) != 1 || got[0] != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Servers take several fields of it, if at all, each in its own way.
func TestCookieIsNotAddedToSeveralFields(t *testing.T) {
	req := newRequest(t, "https://api.example/")
	req.Header["Cookie"] = []string{"a=1", "b=2"}
	err := bind(t, read(t, "cookie session {credential.x}"), `{"x": "hunter2"}`).Authenticate(req, nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(strings.Join(req.Header["Cookie"], ""), "hunter2") {
		t.Errorf("sent %q", req.Header["Cookie"])
	}
}

// Each character stands in a cookie, or is refused, as RFC 6265 section 4.1.1 has it.
func TestEachCharacterOfACookie(t *testing.T) {
	s := read(t, "cookie session {credential.x}")
	for c := range 0x80 {
		octet := c == 0x21 || c >= 0x23 && c <= 0x2b || c >= 0x2d && c <= 0x3a || c >= 0x3c && c <= 0x5b || c >= 0x5d && c <= 0x7e
		_, err := s.Bind(newCredential(t, `{"x": "a`+jsonEscape(rune(c))+`b"}`))
		if octet != (err == nil) {
			t.Errorf("%q: %v", rune(c), err)
		}
	}
}
