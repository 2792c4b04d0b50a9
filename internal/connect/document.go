package connect

import (
	"context"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

// document makes a credential of what was granted, the mapped fields of the id
// token and of the userinfo included.
func (f *Flow) document(ctx context.Context, m *metadata, s *state, g *tokenResponse) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, identityDeadline)
	defer cancel()
	claims, err := f.identity(ctx, m, s, g)
	if err != nil {
		return nil, err
	}
	document, err := f.config.OAuth2.NewDocument(g.response, g.at)
	if err != nil {
		return nil, fmt.Errorf("%w: token endpoint: %w", ErrServerRefused, err)
	}
	document = oauth2.MapFields(document, claims, f.config.IDTokenFields)
	if len(f.config.UserinfoFields) == 0 {
		return document, nil
	}
	c, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return nil, err
	}
	accessToken, err := f.config.OAuth2.Token(c)
	if err != nil {
		return nil, err
	}
	info, err := f.userinfo(ctx, m, accessToken, claims)
	if err != nil {
		return nil, err
	}
	return oauth2.MapFields(document, info, f.config.UserinfoFields), nil
}
