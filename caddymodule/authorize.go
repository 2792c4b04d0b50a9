package caddymodule

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/upstreamauth/caddy-upstream-auth/caddymodule/config"
	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/authorize"
)

// provisionAuthorize makes what decides who may use which tenant.
func (h *Handler) provisionAuthorize(ctx caddy.Context) error {
	resolved, err := resolveAuthorize(*h.Authorize, config.NewResolver())
	if err != nil {
		return err
	}
	if s := resolved.Secret; s != nil && slices.Contains(h.provider.Expose, s.Field) {
		return fmt.Errorf("authorize secret: %s is shown to everybody, by expose", s.Field)
	}
	if h.authorizer, err = authorize.New(resolved); err != nil {
		return err
	}
	if resolved.JWT != nil {
		h.app.AddChecks(config.BearerChecks("authorize jwt of provider "+h.Provider, &resolved.JWT.Config)...)
	}
	h.authorizer.Logger = h.logger
	h.authorizer.Find = func(ctx context.Context, tenant credential.Tenant) (*credential.Credential, error) {
		return h.settings.Credentials.Find(ctx, h.provider, tenant)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && len(resolved.Peer) > 0 {
		server.RegisterConnContext(authorize.WithPeer)
	}
	return nil
}

// resolveAuthorize returns the settings with their placeholders filled in, checked.
func resolveAuthorize(c authorize.Config, resolve *config.Resolver) (authorize.Config, error) {
	if c.JWT != nil {
		token, err := config.ResolveBearer(c.JWT.Config, resolve)
		if err != nil {
			return c, fmt.Errorf("authorize jwt: %w", err)
		}
		c.JWT = &authorize.JWT{Header: c.JWT.Header, Config: token}
	}
	if c.Secret != nil {
		s := *c.Secret
		parts := strings.Split(s.File, "{tenant}") // which is not the resolver's
		for i := range parts {
			parts[i] = resolve.Text("authorize secret: file", parts[i])
		}
		s.File = strings.Join(parts, "{tenant}")
		c.Secret = &s
	}
	if resolve.Err() != nil {
		return c, resolve.Err()
	}
	return c, c.Validate()
}

// unmarshalAuthorize reads: authorize jwt|mtls|secret|peer { … }
func (h *Handler) unmarshalAuthorize(d *caddyfile.Dispenser) error {
	if h.Authorize == nil {
		h.Authorize = new(authorize.Config)
	}
	c, name := h.Authorize, ""
	if err := config.OneArg(d, &name); err != nil {
		return err
	}
	var given bool
	var unmarshal func() error // one line of the block
	switch name {
	case "jwt":
		given, c.JWT = c.JWT != nil, new(authorize.JWT)
		unmarshal = func() error {
			if d.Val() == "header" {
				return config.OneArg(d, &c.JWT.Header)
			}
			return config.BearerArg(d, &c.JWT.Config, "authorize jwt")
		}
	case "mtls":
		given = c.MTLS != nil
		unmarshal = func() error { return unmarshalGrant(d, &c.MTLS, authorize.CertificateKinds) }
	case "secret":
		given, c.Secret = c.Secret != nil, new(authorize.Secret)
		unmarshal = func() error { return unmarshalSecret(d, c.Secret) }
	case "peer":
		given = c.Peer != nil
		unmarshal = func() error { return unmarshalGrant(d, &c.Peer, authorize.PeerKinds) }
	default:
		return d.Errf("authorize: '%s' is none of jwt, mtls, secret and peer", name)
	}
	if given {
		return d.Errf("authorize %s is given twice", name)
	}
	place := *d
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := unmarshal(); err != nil {
			return err
		}
	}
	if name == "mtls" && c.MTLS == nil || name == "peer" && c.Peer == nil {
		return place.Errf("authorize %s names nobody", name)
	}
	_, err := resolveAuthorize(*c, config.AdaptingResolver())
	return config.WrapErr(&place, "", err)
}

// unmarshalGrant reads: uri|dns|email|uid|gid <name> [<tenants...>]
func unmarshalGrant(d *caddyfile.Dispenser, grants *[]authorize.Grant, kinds []string) error {
	g := authorize.Grant{Kind: d.Val()}
	if !slices.Contains(kinds, g.Kind) {
		return d.Errf("'%s' is none of %s", g.Kind, strings.Join(kinds, ", "))
	}
	if !d.NextArg() {
		return d.ArgErr()
	}
	g.Name, g.Tenants = d.Val(), d.RemainingArgs()
	*grants = append(*grants, g)
	return nil
}

func unmarshalSecret(d *caddyfile.Dispenser, s *authorize.Secret) error {
	switch name := d.Val(); name {
	case "header":
		return config.OneArg(d, &s.Header)
	case "field":
		return config.OneArg(d, &s.Field)
	case "file":
		return config.OneArg(d, &s.File)
	default:
		return d.Errf("unrecognized subdirective '%s' of authorize secret", name)
	}
}
