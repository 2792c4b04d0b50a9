package login

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/tokenrequest"
	"github.com/upstreamauth/caddy-upstream-auth/scheme"
)

// Request implements [scheme.Renewer]: it makes the refresh, or the last step of a login,
// after sending those before it, which use nothing up. The error holds no secret, and has a
// [*tokenrequest.Error] in it if one of those has no answer, or is refused.
func (r *Renewer) Request(ctx context.Context, c *credential.Credential) (*http.Request, *tls.Config, error) {
	if token, err := r.Spends(c); err != nil {
		return nil, nil, err
	} else if token != "" && r.refresh != nil {
		req, err := r.build(r.refresh, c)
		return req, r.TLS, err
	}
	before, last := r.steps[:len(r.steps)-1], r.steps[len(r.steps)-1]
	if len(before) > 0 {
		answered, err := r.takeSteps(ctx, before, c)
		if err != nil {
			return nil, nil, err
		}
		c = answered
	}
	req, err := r.build(last, c)
	return req, r.TLS, err
}

// build makes a request that may be sent where it goes.
func (r *Renewer) build(q *request, c *credential.Credential) (*http.Request, error) {
	req, err := q.build(c)
	if err != nil {
		return nil, err
	}
	if !r.TokenHosts.AllowsURL(req.URL) {
		return nil, errors.New("the host is not among token_hosts")
	}
	return req, nil
}

// takeSteps sends requests one after the other, and returns c with their answers.
func (r *Renewer) takeSteps(ctx context.Context, steps []*request, c *credential.Credential) (*credential.Credential, error) {
	err := r.before.Take(ctx, func(_ context.Context, send tokenrequest.Send) error {
		for i, q := range steps {
			req, err := r.build(q, c)
			if err == nil {
				c, err = r.takeStep(send, req, c, i+1)
			}
			if err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
		}
		return nil
	})
	return c, err
}

func (r *Renewer) takeStep(send tokenrequest.Send, req *http.Request, c *credential.Credential, number int) (*credential.Credential, error) {
	res, err := send(req, r.TLS)
	if err != nil {
		return nil, err
	}
	answer, err := readAnswer(res.ForScheme())
	if err != nil {
		return nil, err
	}
	if refused := answer.refused; refused != nil {
		return nil, &tokenrequest.Error{
			Status: res.Status, Reason: "it is refused", Code: tokenrequest.ErrorCode(refused.Code),
			Permanent: refused.Permanent, Unspent: refused.Unspent, RetryAfter: refused.RetryAfter,
		}
	}
	// What the credential calls step1 itself stands behind it, and is not found.
	document := fmt.Appendf(nil, `{"step%d":%s`, number, answer.body)
	if rest := bytes.TrimSpace(bytes.TrimSpace(c.JSON())[1:]); rest[0] == '}' {
		document = append(document, '}')
	} else {
		document = append(append(document, ','), rest...)
	}
	with, err := credential.New(credential.Document{Data: document})
	if err != nil {
		return nil, errors.New("the answer cannot be read")
	}
	return with, nil
}

var _ scheme.Renewer = (*Renewer)(nil)
