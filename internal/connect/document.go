package connect

import (
	"context"
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
	"github.com/upstreamauth/caddy-upstream-auth/internal/oauth2"
)

// document makes a credential of what is known before and what was granted, the mapped
// fields of the id token and of the userinfo included. With [ErrOtherAccount] it is that of an account
// that is not the wanted one.
func (f *Flow) document(ctx context.Context, m *discovery.Metadata, s *state, known *credential.Credential, account map[string]string, g *tokenResponse) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, identityDeadline)
	defer cancel()
	claims, err := f.identity(ctx, m, s, g)
	if err != nil {
		return nil, err
	}
	document, err := f.config.OAuth2.NewDocument(known.JSON(), g.response, g.at)
	if err != nil {
		return nil, fmt.Errorf("%w: token endpoint: %w", ErrServerRefused, err)
	}
	document = oauth2.MapFields(document, claims, f.config.IDTokenFields)
	var info []byte
	if len(f.config.UserinfoFields) > 0 || !tellsAll(account, claims) {
		if info, err = f.userinfoOf(ctx, m, document, claims); err != nil {
			return nil, err
		}
		document = oauth2.MapFields(document, info, f.config.UserinfoFields)
	}
	if !isAccount(account, claims, info) {
		return document, ErrOtherAccount
	}
	return document, nil
}

// userinfoOf asks the userinfo endpoint with the access token in a document.
func (f *Flow) userinfoOf(ctx context.Context, m *discovery.Metadata, document, claims []byte) ([]byte, error) {
	c, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return nil, err
	}
	accessToken, err := f.config.OAuth2.Token(c)
	if err != nil {
		return nil, err
	}
	return f.userinfo(ctx, m, c, accessToken, claims)
}
