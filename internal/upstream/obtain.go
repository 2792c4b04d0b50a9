package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// obtain returns a credential that is not stored yet with its first token, for which
// nothing is spent. The error is a [TestError].
func (p *Provider) obtain(ctx context.Context, cred *credential.Credential) (*credential.Credential, error) {
	req, config, err := p.Renewer.Request(ctx, cred)
	if err != nil {
		return nil, &TestError{Err: err}
	}
	limits := tokenrequest.Limits{Start: time.Now(), Send: DefaultTimeout, Listen: DefaultTimeout}
	res, err := tokenrequest.Do(ctx, new(tokenrequest.Client), req, config, limits)
	if err != nil {
		return nil, &TestError{Err: err}
	}
	document, err := p.Renewer.Merge(cred.Stored(), res.ForScheme())
	if refused, ok := errors.AsType[*scheme.RefusedError](err); ok {
		return nil, refusedTest(res.Status, refused)
	}
	if err != nil {
		return nil, &TestError{Err: err}
	}
	fresh, err := credential.New(credential.Document{Data: document, WrittenAt: res.At})
	if err != nil {
		return nil, &TestError{Err: err}
	}
	return fresh, nil
}

// refusedTest is what came of a test whose token was refused.
func refusedTest(status int, refused *scheme.RefusedError) error {
	if status == http.StatusOK {
		status = http.StatusBadRequest // some say so in the body alone
	}
	return &TestError{Status: status, Err: refused}
}
