// Package hosts says which hosts something may be sent to.
package hosts

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// List says to which hosts a credential may be sent. The nil list allows any.
type List []hostPattern

// hostPattern is one entry of a list.
type hostPattern struct {
	name     string // lower case, without "*." and a trailing dot; an address as netip spells it
	wildcard bool   // one label stands before name
	port     uint16 // 0: any
}

// Patterns returns the list as it is written, nil for the nil list.
func (l List) Patterns() []string {
	var patterns []string
	for _, p := range l {
		text := p.name
		if p.wildcard {
			text = "*." + text
		}
		if p.port != 0 {
			text = net.JoinHostPort(text, strconv.Itoa(int(p.port)))
		}
		patterns = append(patterns, text)
	}
	return patterns
}

// Parse reads the entries of allowed_hosts: a host name, "*.example.com" for
// the hosts exactly one label below, or an IP address, each with an optional port
// without which any port will do, or "unix//" and the path of a socket. Names are compared without regard to case and to
// a trailing dot; those beyond ASCII are written in their ASCII form (xn--…).
// No entries make the nil list.
func Parse(patterns []string) (List, error) {
	var list List
	for _, pattern := range patterns {
		rest, wildcard := strings.CutPrefix(pattern, "*.")
		name, port, ok := splitHost(rest)
		if _, err := netip.ParseAddr(name); !ok || wildcard && err == nil {
			return nil, fmt.Errorf("%q is not a host name, *.host name or IP address with an optional port", pattern)
		}
		list = append(list, hostPattern{name: name, wildcard: wildcard, port: port})
	}
	return list, nil
}

// Allows reports whether host, a name or address with an optional port, is on the
// list. An entry with a port only matches a host with that port.
func (l List) Allows(host string) bool {
	if l == nil {
		return true
	}
	name, port, ok := splitHost(host)
	return ok && l.allows(name, port)
}

// AllowsURL reports whether what goes to a URL, at its scheme's port unless it names another
// one, goes to a host on the list.
func (l List) AllowsURL(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return l.Allows(net.JoinHostPort(u.Hostname(), port))
}

// Claims reports whether an entry of the list is for a host at a port: one without a port for
// the usual ports alone. The nil list claims none.
func (l List) Claims(name string, port uint16, usual ...uint16) bool {
	name, _, ok := splitHost(name)
	for _, p := range l {
		if ok && (p.port == port || p.port == 0 && slices.Contains(usual, port)) && p.matches(name) {
			return true
		}
	}
	return false
}

// Split returns a host, a name or address with an optional port, in its parts: the name in lower
// case and without a trailing dot, the address as netip spells it; 0 if there is no port. ok is
// false for what is no host.
func Split(host string) (name string, port uint16, ok bool) {
	name, port, ok = splitHost(host)
	return name, port, ok && !strings.HasPrefix(name, "unix//")
}

func (l List) allows(name string, port uint16) bool {
	for _, p := range l {
		if (p.port == 0 || p.port == port) && p.matches(name) {
			return true
		}
	}
	return false
}

// AllowsBoth reports whether the host that is dialled and the one that the request
// names are on the list.
func (l List) AllowsBoth(dialed, named string) bool {
	if l == nil {
		return true
	}
	dialedName, dialedPort, dialedOK := splitHost(dialed)
	name, port, ok := splitHost(named)
	if port == 0 {
		port = dialedPort
	}
	return dialedOK && ok && l.allows(dialedName, dialedPort) && l.allows(name, port)
}

func (p hostPattern) matches(name string) bool {
	if !p.wildcard {
		return name == p.name
	}
	label, parent, _ := strings.Cut(name, ".")
	return label != "" && parent == p.name
}

// splitHost brings a host with an optional port into the form of [hostPattern];
// port is 0 if there is none. ok is false for what is no host at all.
func splitHost(host string) (name string, port uint16, ok bool) {
	name = host
	if strings.HasPrefix(host, "unix//") {
		return host, 0, true
	}
	if bracketed, isBracketed := strings.CutPrefix(host, "["); isBracketed {
		address, rest, closed := strings.Cut(bracketed, "]")
		if addr, err := netip.ParseAddr(address); !closed || err != nil || !addr.Is6() {
			return "", 0, false
		}
		if port, ok = parsePort(rest); !ok {
			return "", 0, false
		}
		name = address
	} else if colon := strings.IndexByte(host, ':'); colon >= 0 && colon == strings.LastIndexByte(host, ':') {
		if port, ok = parsePort(host[colon:]); !ok {
			return "", 0, false
		}
		name = host[:colon]
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().String(), port, true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name, port, isHostName(name)
}

// parsePort reads "" and ":" as no port.
func parsePort(s string) (uint16, bool) {
	if s == "" || s == ":" {
		return 0, true
	}
	port, err := strconv.ParseUint(strings.TrimPrefix(s, ":"), 10, 16)
	return uint16(port), err == nil && s[0] == ':' && port > 0
}

func isHostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
