package explain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
	"github.com/upstreamauth/caddy-upstream-auth/internal/lifecycle"
	"github.com/upstreamauth/caddy-upstream-auth/internal/renew"
	"github.com/upstreamauth/caddy-upstream-auth/internal/upstream"
)

const (
	// expiresSoon is how long before a refresh token expires that is told.
	expiresSoon = 7 * 24 * time.Hour

	// maxTokenReads is of how many tenants' refresh tokens it is looked at whether they
	// expire soon.
	maxTokenReads = 1000
)

// RefreshTokens counts the refresh tokens of a provider that expire soon, or have expired,
// by what their server said. Their tenants have to sign in again, which is no fault of the
// setup. It says nothing where no server says it, or the store does not list tenants, unless
// keep_alive needs that.
func RefreshTokens(p *upstream.Provider, service *lifecycle.Service) Check {
	return Check{Name: checkRefresh, Look: func(ctx context.Context) []credential.Finding {
		tenants, err := service.List(ctx, p, "", maxTokenReads+1)
		if err != nil {
			return cannotKeepAlive(p, err)
		}
		some := len(tenants) > maxTokenReads
		var soon, over, unread atomic.Int64
		var group errgroup.Group
		group.SetLimit(refreshReads)
		for _, tenant := range tenants[:min(len(tenants), maxTokenReads)] {
			group.Go(func() error {
				cred, err := service.Get(ctx, p, tenant)
				if err != nil {
					unread.Add(1)
					return nil //nolint:nilerr // it is not looked at
				}
				at, known := p.RefreshTokenExpiresAt(cred)
				switch left := time.Until(at); {
				case !known || left > expiresSoon || renew.StatusOf(p.Renewer, cred).State == lifecycle.StatusReauthorize:
				case left > 0:
					soon.Add(1)
				default:
					over.Add(1)
				}
				return nil
			})
		}
		_ = group.Wait()
		var parts []string
		if n := soon.Load(); n > 0 {
			parts = append(parts, credentials(int(n))+" whose refresh token expires within 7 days, unless it is used before")
		}
		if n := over.Load(); n > 0 {
			parts = append(parts, credentials(int(n))+" whose refresh token has expired, so that the tenant has to sign in again")
		}
		if len(parts) == 0 {
			return nil
		}
		detail := "provider " + p.Name + ": " + strings.Join(parts, " and ")
		if some || ctx.Err() != nil {
			detail += fmt.Sprintf(", of %d that were looked at", int64(min(len(tenants), maxTokenReads))-unread.Load())
		}
		return []credential.Finding{{Check: checkRefresh, OK: true, Detail: detail}}
	}}
}

// cannotKeepAlive says what keep_alive lacks if tenants cannot be listed. What else is wrong
// with the store is told by its own checks.
func cannotKeepAlive(p *upstream.Provider, err error) []credential.Finding {
	permission, ok := errors.AsType[*credential.PermissionError](err)
	if p.KeepAlive == 0 || !ok {
		return nil
	}
	return []credential.Finding{{
		Check:  checkRefresh,
		Detail: "provider " + p.Name + ": keep_alive keeps no refresh token alive: tenants cannot be listed",
		Remedy: fmt.Sprintf("Have the store's policy allow %s on %s.", strings.Join(permission.Capabilities, " and "), permission.Path),
	}}
}
