package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/hosts"
)

// destinations are what a reverse proxy's configuration says of where requests go.
type destinations struct {
	Upstreams []struct {
		Dial string `json:"dial"`
	} `json:"upstreams"`
	Dynamic json.RawMessage `json:"dynamic_upstreams"`
	Headers struct {
		Request struct {
			Set http.Header `json:"set"`
		} `json:"request"`
	} `json:"headers"`
	Transport struct {
		TLS *reverseproxy.TLSConfig `json:"tls"`
	} `json:"transport"`
}

// upstreamError says what is wrong with an upstream.
type upstreamError struct {
	dial string
	err  error
}

func (e *upstreamError) Error() string { return e.err.Error() }

// checkUpstreams holds a reverse proxy's upstreams against the provider, as far as they are
// known: who can write a request or a credential must not be able to have the credential
// sent anywhere, and nobody on the way is to read it. It returns what stands for
// allowed_hosts where there are none: the hosts of the upstreams.
func (h *Handler) checkUpstreams(conf *Provider, resolve *config.Resolver) (hosts.List, error) {
	var to destinations
	if err := json.Unmarshal(h.ProxyRaw, &to); err != nil && len(h.ProxyRaw) > 0 {
		return nil, err
	}
	allowed, err := conf.allowedHosts()
	if err != nil {
		return nil, err
	}
	if len(to.Dynamic) > 0 && allowed == nil {
		return nil, cmp.Or(namedByRequest(string(to.Dynamic)), errors.New("dynamic upstreams need allowed_hosts in the provider"))
	}
	own, hostless := make([]string, 0, len(to.Upstreams)), 0
	for _, u := range to.Upstreams {
		if err := namedByRequest(u.Dial); err != nil {
			if allowed == nil {
				return nil, &upstreamError{u.Dial, err}
			}
			continue // looked at with each request
		}
		if resolve.Adapting() && strings.Contains(u.Dial, "{") {
			continue
		}
		hosts, err := to.hosts(resolve.Text("upstream", u.Dial), resolve, conf.InsecureHTTP || h.InsecureHTTP)
		switch {
		case resolve.Err() != nil:
			return nil, resolve.Err()
		case err != nil:
			return nil, &upstreamError{u.Dial, err}
		case len(hosts) > 0 && !allowed.Allows(hosts[0]):
			return nil, &upstreamError{u.Dial, fmt.Errorf("upstream %s is not among allowed_hosts of provider %s", hosts[0], h.Provider)}
		}
		own = append(own, hosts...)
		if slices.Contains(hosts, "localhost") {
			hostless++
		}
	}
	if allowed != nil {
		return allowed, nil
	}
	if hostless > 0 && hostless < len(to.Upstreams) {
		return nil, errors.New("upstreams with and without a host need allowed_hosts in the provider")
	}
	allowed, err = hosts.Parse(own)
	if allowed == nil || err != nil {
		return hosts.List{}, err // not nil: any
	}
	for _, named := range to.Headers.Request.Set["Host"] {
		names := func(dialed string) bool { return allowed.AllowsBoth(dialed, named) }
		if !strings.Contains(named, "{") && !slices.ContainsFunc(own, names) {
			return nil, fmt.Errorf("header_up Host %s, which is not an upstream's, needs allowed_hosts in the provider", named)
		}
	}
	return allowed, nil
}

// namedByRequest is the error of an upstream that is not known before a request is there.
func namedByRequest(text string) error {
	for _, name := range config.PlaceholderName.FindAllStringSubmatch(text, -1) {
		if config.CheckRuntimePlaceholder(name[1]) != nil {
			return fmt.Errorf("an upstream named by {%s} needs allowed_hosts in the provider", name[1])
		}
	}
	return nil
}

// isKnown reports whether a text is known before a request is there.
func isKnown(text string) bool { return namedByRequest(text) == nil }

// hosts returns the hosts that requests for an upstream may name, first the one that
// vouches for where they go, see [Transport.dialedHost]. There are none if that is not known.
func (to *destinations) hosts(dial string, resolve *config.Resolver, insecureHTTP bool) ([]string, error) {
	address, err := caddy.ParseNetworkAddress(dial)
	if err != nil {
		return nil, err
	}
	if address.IsUnixNetwork() {
		return []string{address.Network + "/" + address.Host, "localhost"}, nil
	}
	hostPort := address.JoinHostPort(0)
	_, port, _ := net.SplitHostPort(hostPort)
	if address.Host == "" {
		return []string{"localhost" + hostPort, "localhost"}, nil
	}
	conf := to.Transport.TLS
	switch {
	case conf == nil || slices.Contains(conf.ExceptPorts, port):
		if !insecureHTTP && !credential.IsLoopback(address.Host) {
			return nil, fmt.Errorf("upstream %s is not https: write https://, or insecure_http if the credential may go there in the clear", hostPort)
		}
	case conf.ServerName == "" || conf.InsecureSkipVerify:
	case resolve.Adapting() && strings.Contains(conf.ServerName, "{"), !isKnown(conf.ServerName):
		return nil, nil
	default:
		return []string{net.JoinHostPort(resolve.Text("tls_server_name", conf.ServerName), port), hostPort}, nil
	}
	return []string{hostPort}, nil
}

// placeOf returns the place in a Caddyfile of an upstream's token, among those of a
// reverse_proxy directive; the directive's own if it is not found.
func placeOf(dial string, directive []caddyfile.Token) *caddyfile.Dispenser {
	place := caddyfile.NewDispenser(directive)
	for i, token := range directive[1:] {
		alone := new(reverseproxy.Handler)
		token.File, token.Line = directive[0].File, directive[0].Line // an argument is on the same line
		if alone.UnmarshalCaddyfile(caddyfile.NewDispenser([]caddyfile.Token{directive[0], token})) != nil {
			continue
		}
		for _, u := range alone.Upstreams {
			if u.Dial == dial {
				place = caddyfile.NewDispenser(directive[i+1:])
			}
		}
	}
	place.Next()
	return place
}
