package connect

import (
	"context"
	"fmt"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/discovery"
)

// userinfo asks the userinfo endpoint (OpenID Connect Core section 5.3) about the
// person whose access token it is. The claims are those of the id token, or nil.
// The error is an [ErrUserinfo].
func (f *Flow) userinfo(ctx context.Context, m *discovery.Metadata, c *credential.Credential, accessToken string, claims []byte) ([]byte, error) {
	var endpoint string
	if f.config.UserinfoURL != nil {
		var err error
		if endpoint, err = f.config.OAuth2.AddressOf(f.config.UserinfoURL, c); err != nil {
			return nil, fmt.Errorf("%w: userinfo_url: %w", ErrUserinfo, err)
		}
	} else if m != nil {
		endpoint = m.UserinfoEndpoint
	}
	if endpoint == "" {
		return nil, fmt.Errorf("%w: the metadata name no endpoint", ErrUserinfo)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: the endpoint cannot be asked", ErrUserinfo)
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	status, body, err := discovery.Get(f.client, request)
	switch {
	case status == 0:
		return nil, fmt.Errorf("%w: the endpoint does not answer", ErrUserinfo)
	case status != http.StatusOK:
		return nil, fmt.Errorf("%w: the endpoint answered %d", ErrUserinfo, status)
	case err != nil:
		return nil, fmt.Errorf("%w: it is cut off or too large", ErrUserinfo)
	}
	info := object(body)
	if info == nil {
		return nil, fmt.Errorf("%w: not a JSON object", ErrUserinfo)
	}
	// OpenID Connect Core section 5.3.2: otherwise it may be of somebody else.
	subject := gjson.GetBytes(info, "sub")
	if claims != nil && subject.Exists() && (subject.Type != gjson.String || subject.Str != gjson.GetBytes(claims, "sub").Str) {
		return nil, fmt.Errorf("%w: it is of another person than the id token", ErrUserinfo)
	}
	return info, nil
}
