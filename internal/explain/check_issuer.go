package explain

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

// Endpoints are those of an authorization server as they are configured, but for the
// token endpoint. Those that are not are empty.
type Endpoints struct{ Issuer, Authorization, Userinfo, Revocation string }

// Issuer compares the configuration with what the issuer says of itself.
func Issuer(p *upstream.Provider, configured Endpoints) Check {
	return Check{Name: checkIssuer, Look: func(ctx context.Context) []credential.Finding {
		ctx, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		o := p.OAuth2()
		issuer := discovery.Issuer{Name: configured.Issuer, Client: discovery.NewClient(nil, o.TLS)}
		told, err := issuer.Get(ctx)
		if err == nil && !o.WithoutPKCE {
			err = told.CheckPKCE()
		}
		if err != nil {
			return []credential.Finding{{
				Check:  checkIssuer,
				Detail: fmt.Sprintf("the metadata of provider %s's issuer %s cannot be had: %v", p.Name, configured.Issuer, err),
				Remedy: "Check that issuer is exactly the one that the authorization server names itself, and that it can be reached from here.",
			}}
		}
		var findings []credential.Finding
		for _, endpoint := range []struct{ name, configured, told string }{
			{"token_url", o.TokenURL.String(), told.TokenEndpoint},
			{"authorization_url", configured.Authorization, told.AuthorizationEndpoint},
			{"userinfo_url", configured.Userinfo, told.UserinfoEndpoint},
			{"revocation_url", configured.Revocation, told.RevocationEndpoint},
		} {
			if endpoint.configured == "" || strings.Contains(endpoint.configured, "{") || endpoint.told == "" || sameEndpoint(endpoint.configured, endpoint.told) {
				continue
			}
			findings = append(findings, credential.Finding{
				Check:  checkIssuer,
				Detail: fmt.Sprintf("%s of provider %s is %s, and its issuer's metadata say %s", endpoint.name, p.Name, withoutQuery(endpoint.configured), withoutQuery(endpoint.told)),
				Remedy: fmt.Sprintf("Check %s: the issuer's is to be expected to work.", endpoint.name),
			})
		}
		if method := o.ClientAuth.Registered(); method != "" && !slices.Contains(told.ClientAuthMethods(), method) {
			findings = append(findings, credential.Finding{
				Check: checkIssuer,
				Detail: fmt.Sprintf("client_auth of provider %s is %s, and its issuer's metadata name %s",
					p.Name, method, strings.Join(told.ClientAuthMethods(), ", ")),
				Remedy: "Set client_auth to one that the token endpoint takes.",
			})
		}
		if len(findings) == 0 {
			findings = append(findings, credential.Finding{Check: checkIssuer, OK: true, Detail: "the settings of provider " + p.Name + " agree with its issuer's metadata"})
		}
		return findings
	}}
}

// sameEndpoint compares two addresses without their queries, which are configuration.
func sameEndpoint(a, b string) bool {
	return strings.TrimSuffix(withoutQuery(a), "/") == strings.TrimSuffix(withoutQuery(b), "/")
}

// withoutQuery returns an address as it is told: the host in lower case, and no more than
// its path.
func withoutQuery(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that cannot be read"
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + u.EscapedPath()
}
