package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// ErrNoTest says that a provider has no test.
var ErrNoTest = errors.New("the provider has no test")

// Tested is what came of a provider's test with a tenant's credential.
type Tested struct {
	// Credential is what it was made with.
	Credential *credential.Credential

	// Status is the upstream's answer, 0 if there was none.
	Status int

	// Err says why it failed: a [TestError], or a [credential.ErrInvalid]. Nil: it passed.
	Err error

	// Took is how long the answer took.
	Took time.Duration

	// Renewed says that the credential was renewed for it, and Expired why it was not though
	// it has expired.
	Renewed bool
	Expired error
}

// Test makes the provider's test with the credential that a request of tenant would be sent
// with, by the same way: an expired one is renewed first. One that is answered 401 is
// renewed if that is asked for, and tested once more; else nothing is spent on it.
//
// Errors: [ErrNoTest], those of [Credentials.Open] and [Credentials.Renew].
func (c *Credentials) Test(ctx context.Context, p *Provider, tenant credential.Tenant, renew bool) (*Tested, error) {
	if p.Test == nil {
		return nil, ErrNoTest
	}
	opened, err := c.Open(ctx, p, tenant)
	if err != nil {
		return nil, err
	}
	tested := c.test(ctx, p, tenant, opened)
	if renew && tested.Status == http.StatusUnauthorized && p.Renewer != nil && !opened.Fresh {
		if opened, err = c.Renew(ctx, p, tenant, opened.Credential); err != nil {
			return nil, err
		}
		tested = c.test(ctx, p, tenant, opened)
	}
	if errors.Is(tested.Err, context.Canceled) {
		return nil, context.Canceled
	}
	return tested, nil
}

// test makes the test once. What the upstream says of a fresh token is reported, as it is
// of a request's.
func (c *Credentials) test(ctx context.Context, p *Provider, tenant credential.Tenant, opened Opened) *Tested {
	began := time.Now()
	status, err := p.runTest(ctx, opened.Credential)
	switch {
	case !opened.Fresh || status == 0:
	case status == http.StatusUnauthorized:
		c.Rejected(p.Provider, tenant, opened.Credential)
	default:
		c.Accepted(p.Provider, tenant, opened.Credential)
	}
	return &Tested{
		Credential: opened.Credential, Status: status, Err: err, Took: time.Since(began), Renewed: opened.Fresh, Expired: opened.Expired,
	}
}

// runTest makes the test with a credential that has a token. The error is a [TestError], or
// a [credential.ErrInvalid].
func (p *Provider) runTest(ctx context.Context, cred *credential.Credential) (status int, err error) {
	status, err = p.Test.Send(ctx, p, cred)
	switch {
	case errors.Is(err, credential.ErrInvalid):
		return 0, err
	case err != nil:
		return 0, &TestError{Err: err}
	case !p.Test.succeeded(status):
		return status, &TestError{Status: status}
	}
	return status, nil
}
