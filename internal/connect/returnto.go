package connect

import (
	"errors"
	"net/url"
	"strings"
)

// maxReturnTo bounds an address to return to in bytes: it travels in links and
// states.
const maxReturnTo = 512

// place is an address that a browser may be sent to: itself, or all below it.
type place struct {
	origin string
	path   string // escaped
	below  bool
}

// parseReturnTo parses an entry of the allow-list.
func parseReturnTo(text string) (place, error) {
	u, err := parseBareAddress(text)
	if err != nil {
		return place{}, err
	}
	if !isPlainPath(u.Path) {
		return place{}, errors.New("has a path with dot segments or backslashes")
	}
	path := u.EscapedPath()
	return place{origin: originOf(u), path: path, below: strings.HasSuffix(path, "/")}, nil
}

func originOf(u *url.URL) string { return u.Scheme + "://" + normalHost(u.Scheme, u.Host) }

// isPlainPath reports whether a browser takes a path as it is: it removes dot
// segments, escaped ones too, and turns '\' into '/'.
func isPlainPath(path string) bool {
	if strings.Contains(path, `\`) {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// mayReturnTo reports whether the allow-list has text.
func (f *Flow) mayReturnTo(text string) bool {
	u, err := parseAddress(text)
	if err != nil || len(text) > maxReturnTo || !isPlainPath(u.Path) {
		return false
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return false
	}
	path, origin := u.EscapedPath(), originOf(u)
	for _, p := range f.returnTo {
		if p.origin == origin && (p.path == path || p.below && strings.HasPrefix(path, p.path)) {
			return true
		}
	}
	return false
}

// withStatus returns an address to return to with the parameter status, in place
// of any that it has.
func withStatus(text, status string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text // cannot be: mayReturnTo has parsed it
	}
	query := u.Query()
	query.Set("status", status)
	u.RawQuery = query.Encode()
	return u.String()
}
