package template

import (
	"errors"
	"net/url"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// errNoScheme says that a template may make any URL.
var errNoScheme = errors.New("not an absolute URL")

// ExecuteURL returns the URL that t makes of c: https, or http on a loopback host,
// without user information and fragment. A field's value stands for itself: it holds
// letters, digits, '-', '.', '_' and '~' alone (RFC 3986, section 2.3), and is neither
// "." nor "..", so that it can change neither host nor path beyond its place.
func (t *Template) ExecuteURL(c *credential.Credential) (*url.URL, error) {
	text, err := t.ExecuteWith(c, Unreserved)
	if err != nil {
		return nil, err
	}
	return credential.ParseEndpoint(text)
}

// CheckURL reports whether t can make a URL, whatever is in the credential, and
// whether the credential has a say in the host.
func (t *Template) CheckURL() (hostByCredential bool, err error) {
	var text strings.Builder
	for _, p := range t.parts {
		if p.path == "" {
			text.WriteString(p.text)
			continue
		}
		rest, found := strings.CutPrefix(text.String(), "https://")
		if !found {
			rest, found = strings.CutPrefix(text.String(), "http://")
		}
		if !found {
			return false, errNoScheme // not even the scheme is certain
		}
		hostByCredential = hostByCredential || !strings.ContainsAny(rest, "/?")
		text.WriteString("x")
	}
	_, err = credential.ParseEndpoint(text.String())
	return hostByCredential, err
}

// Unreserved is the [Rule] for what stands for itself in a URL (RFC 3986, section 2.3).
func Unreserved(value string) string {
	if value == "" {
		return "is empty"
	}
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
		default:
			return "has a character in it that cannot stand in a URL"
		}
	}
	if strings.Trim(value, ".") == "" {
		return "cannot stand in a URL"
	}
	return ""
}
