package caddymodule

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/connect"
	"github.com/upstreamauth/caddy-upstream-auth/internal/scheme"
)

const checkIssuer = "issuer"

// registeredMethods are the names of the ways of client authentication in metadata
// (RFC 7591 section 2).
var registeredMethods = map[scheme.ClientAuth]string{
	scheme.ClientAuthBasic: "client_secret_basic",
	scheme.ClientAuthPost:  "client_secret_post",
	scheme.ClientAuthNone:  "none",
}

// examineIssuer compares the configuration with what the issuer says of itself.
func (config *Provider) examineIssuer(p *provider) examination {
	return examination{checkIssuer, func(ctx context.Context) []credential.Finding {
		ctx, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		o := p.scheme.OAuth2()
		resolve := newResolver()
		issuer := resolve.text("issuer", config.OAuth2.Issuer)
		told, err := connect.Discover(ctx, issuer, o.TLS)
		if err != nil {
			return []credential.Finding{{
				Check:  checkIssuer,
				Detail: fmt.Sprintf("the metadata of provider %s's issuer %s cannot be had: %v", p.name, issuer, err),
				Remedy: "Check that issuer is exactly the one that the authorization server names itself, and that it can be reached from here.",
			}}
		}
		var findings []credential.Finding
		for _, endpoint := range []struct{ name, configured, told string }{
			{"token_url", o.TokenURL, told.Token},
			{"authorization_url", resolve.text("authorization_url", config.OAuth2.AuthorizationURL), told.Authorization},
			{"userinfo_url", resolve.text("userinfo_url", config.OAuth2.UserinfoURL), told.Userinfo},
			{"revocation_url", resolve.text("revocation_url", config.OAuth2.RevocationURL), told.Revocation},
		} {
			if endpoint.configured == "" || endpoint.told == "" || sameEndpoint(endpoint.configured, endpoint.told) {
				continue
			}
			findings = append(findings, credential.Finding{
				Check:  checkIssuer,
				Detail: fmt.Sprintf("%s of provider %s is %s, and its issuer's metadata say %s", endpoint.name, p.name, withoutQuery(endpoint.configured), withoutQuery(endpoint.told)),
				Remedy: fmt.Sprintf("Check %s: the issuer's is to be expected to work.", endpoint.name),
			})
		}
		if method := registeredMethods[o.ClientAuth]; !slices.Contains(told.ClientAuthMethods, method) {
			findings = append(findings, credential.Finding{
				Check: checkIssuer,
				Detail: fmt.Sprintf("client_auth of provider %s is %s, and its issuer's metadata name %s",
					p.name, method, strings.Join(told.ClientAuthMethods, ", ")),
				Remedy: "Set client_auth to one that the token endpoint takes.",
			})
		}
		if len(findings) == 0 {
			findings = append(findings, credential.Finding{Check: checkIssuer, OK: true, Detail: "the settings of provider " + p.name + " agree with its issuer's metadata"})
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
