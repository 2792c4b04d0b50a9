package caddymodule

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/forward"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/explain"
)

// Names of what is looked at of sites.
const (
	checkListener = "listener"
	checkSite     = "site"
)

// lookAtSites finds what there is to be told of sites with our handler that others can use,
// or that the app may miss, once all of the configuration is loaded.
func (a *App) lookAtSites() {
	module, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return // there are none
	}
	for _, server := range module.(*caddyhttp.App).Servers {
		s := serverSites{open: reachable(server.Listen), elsewhere: len(server.Routes) > 0 && !slices.ContainsFunc(server.Routes, isForAll)}
		s.walk(server.Routes, nil, asksForCertificates(server))
		for _, f := range s.findings {
			found := func(context.Context) []credential.Finding { return []credential.Finding{f} }
			// Of a site's address the adapter has warned.
			a.AddChecks(explain.Check{Name: f.Check, Look: found, AtStart: f.Check == checkListener})
		}
	}
}

// serverSites are those of one server.
type serverSites struct {
	open      []string // where others than this machine can reach it
	elsewhere bool     // requests that no site is for get an empty 200
	findings  []credential.Finding
}

// walk looks at routes for requests with one of the hosts; none means all. It returns
// whether what follows them is for who was authenticated, as far as that can be seen.
func (s *serverSites) walk(routes caddyhttp.RouteList, hosts []string, authenticated bool) bool {
	for _, route := range routes {
		within := append(slices.Clone(hosts), hostsOf(route)...)
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				s.look(h.Provider, within, authenticated || h.Authorize != nil)
			case *forward.Forward:
				s.look(strings.Join(h.Providers, ", "), within, authenticated || h.Authorizes())
			case *caddyhttp.Subroute:
				inner := s.walk(h.Routes, within, authenticated)
				authenticated = authenticated || inner && isForAll(route)
			default:
				authenticated = authenticated || authenticates(handler) && isForAll(route)
			}
		}
	}
	return authenticated
}

func (s *serverSites) look(provider string, hosts []string, authenticated bool) {
	if len(s.open) > 0 && !authenticated {
		s.findings = append(s.findings, credential.Finding{
			Check: checkListener, OK: true, Warning: true,
			Detail: fmt.Sprintf("whoever reaches %s can use the tenants of provider %s: nothing is seen that asks who they are. Have the site listen for this machine alone, by bind 127.0.0.1 or a Unix socket, or say by authorize who may use which tenant.", strings.Join(s.open, ", "), provider),
		})
	}
	if i := slices.IndexFunc(hosts, credential.IsLoopback); i >= 0 && s.elsewhere {
		s.findings = append(s.findings, credential.Finding{
			Check: checkSite, OK: true, Warning: true,
			Detail: fmt.Sprintf("the site of provider %s is for requests with the Host %s: others get an empty 200, which an app takes for success. Write the port alone for the site's address, as in :8080, and bind 127.0.0.1 in the site.", provider, hosts[i]),
		})
	}
}

// hostsOf returns the hosts that a route is for.
func hostsOf(route caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if m, ok := matcher.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *m...)
			}
		}
	}
	return hosts
}

// isForAll reports whether a route is for all requests.
func isForAll(route caddyhttp.Route) bool { return len(route.MatcherSets) == 0 }

// authenticates reports whether a handler looks like one that lets nobody through whom it
// does not know: those of Caddy, and forward_auth.
func authenticates(handler caddyhttp.MiddlewareHandler) bool {
	if proxy, ok := handler.(*reverseproxy.Handler); ok {
		return len(proxy.HandleResponse) > 0
	}
	module, ok := handler.(caddy.Module)
	return ok && module.CaddyModule().ID == "http.handlers.authentication"
}

// asksForCertificates reports whether a server lets clients with a certificate in alone.
func asksForCertificates(server *caddyhttp.Server) bool {
	for _, policy := range server.TLSConnPolicies {
		if c := policy.ClientAuthentication; c != nil && c.Active() && c.Mode != "request" && c.Mode != "verify_if_given" {
			return true
		}
	}
	return false
}

// reachable returns those of a server's addresses at which others than this machine reach it.
func reachable(addresses []string) (open []string) {
	for _, text := range addresses {
		address, err := caddy.ParseNetworkAddress(text)
		if err == nil && !address.IsUnixNetwork() && !address.IsFdNetwork() && !credential.IsLoopback(address.Host) {
			open = append(open, text)
		}
	}
	return open
}

// warnOfLoopbackSite warns of a site whose address is one of this machine's: Caddy compares
// it with the Host of requests. No directive is told the site that it is in, hence the
// reflection.
func warnOfLoopbackSite(h httpcaddyfile.Helper) {
	keys := reflect.ValueOf(h).FieldByName("parentBlock").FieldByName("Keys")
	for i := range keys.Len() {
		key := keys.Index(i)
		text, place := key.FieldByName("Text").String(), fmt.Sprintf("%s:%d", key.FieldByName("File"), key.FieldByName("Line").Int())
		warned := "upstream_auth warned of " + place + text
		address, err := httpcaddyfile.ParseAddress(text)
		if err != nil || !credential.IsLoopback(address.Host) || h.State[warned] != nil {
			continue
		}
		h.State[warned] = true
		caddy.Log().Named("caddyfile").Warn(fmt.Sprintf(
			"%s is for requests with that Host alone, and others, as those for a container's name, may get an empty 200: write :%s and bind %s, at %s",
			text, portOf(address), strings.Trim(address.Host, "[]"), place))
	}
}

func portOf(address httpcaddyfile.Address) string {
	switch {
	case address.Port != "":
		return address.Port
	case address.Scheme == "http":
		return "80"
	}
	return "443"
}
