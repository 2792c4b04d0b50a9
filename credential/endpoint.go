package credential

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// ParseEndpoint reads the URL of a server that secrets are sent to: an absolute one
// without user information and fragment, which is https, or http on a loopback host.
// The error does not quote it.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("not an absolute URL")
	case u.User != nil || strings.Contains(text, "#"):
		return nil, errors.New("a URL with user information or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && IsLoopback(u.Hostname()):
		return u, nil
	}
	return nil, errors.New("must be https, unless the host is a loopback address")
}

// IsLoopback reports whether a host without a port is "localhost" or a loopback
// address: what is sent there stays on this machine.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
