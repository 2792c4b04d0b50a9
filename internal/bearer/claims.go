package bearer

import (
	"time"

	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/tidwall/gjson"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// leeway is by how much the clock of whoever issues tokens may differ from ours.
const leeway = 30 * time.Second

// caller returns who a verified payload says the caller is.
func (v *Verifier) caller(payload []byte, now time.Time) (Caller, error) {
	if _, ok := decodeObject(payload); !ok {
		return Caller{}, errPayload
	}
	var claims jwt.Claims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return Caller{}, errClaims
	}
	if err := checkTimes(&claims, now); err != nil {
		return Caller{}, err
	}
	if v.config.Issuer != "" && claims.Issuer != v.config.Issuer {
		return Caller{}, errIssuer
	}
	if v.config.Audience != "" && !claims.Audience.Contains(v.config.Audience) {
		return Caller{}, errAudience
	}

	caller := Caller{Operator: v.isOperator(payload)}
	claim := gjson.GetBytes(payload, v.config.TenantClaim)
	if !claim.Exists() {
		if caller.Operator {
			return caller, nil
		}
		return Caller{}, errNoTenant
	}
	tenant, err := credential.ParseTenant(claim.Str) // "" unless it is a string
	if err != nil {
		return Caller{}, errTenant
	}
	caller.Tenant = tenant
	return caller, nil
}

// checkTimes checks the times of a token (RFC 7519 section 4.1). Of a fraction of
// a second the library keeps nothing.
func checkTimes(claims *jwt.Claims, now time.Time) error {
	switch {
	case claims.Expiry == nil:
		return errNoExpiry
	case !now.Before(claims.Expiry.Time().Add(leeway)): // "on or after which"
		return ErrExpired
	case claims.NotBefore != nil && now.Before(claims.NotBefore.Time().Add(-leeway)):
		return errNotYet
	case claims.IssuedAt != nil && now.Before(claims.IssuedAt.Time().Add(-leeway)):
		return errIssuedLater
	}
	return nil
}

// isOperator reports whether the operator's claim is the operator's value, or an
// array that has it.
func (v *Verifier) isOperator(payload []byte) bool {
	if v.config.OperatorClaim == "" {
		return false
	}
	claim := gjson.GetBytes(payload, v.config.OperatorClaim)
	values := []gjson.Result{claim}
	if claim.IsArray() {
		values = claim.Array()
	}
	for _, value := range values {
		if value.Type == gjson.String && value.Str == v.config.OperatorValue {
			return true
		}
	}
	return false
}
