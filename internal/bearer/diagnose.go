package bearer

import (
	"fmt"

	"github.com/upstreamauth/caddy-upstream-auth/credential"
)

// checkTokens is the name of what Diagnose looks at.
const checkTokens = "tokens"

// Diagnose says what tokens are accepted that better were not, and whether the secret that
// they are signed with can serve. What they are for, such as an API, is named by what.
func (c *Config) Diagnose(what string) []credential.Finding {
	finding := credential.Finding{Check: checkTokens}
	switch err := c.checkSecret(); {
	case err != nil:
		finding.Detail = fmt.Sprintf("%s refuses all tokens: %v", what, err)
		finding.Remedy = "Have secret_file hold the secret of whoever issues the tokens. A new one: openssl rand -hex 32"
	case c.Issuer == "" && c.Audience == "":
		finding.Detail = what + " accepts tokens of any issuer, for any audience"
		finding.Remedy = "Set issuer, and audience if the tokens have one, to what whoever issues them puts into iss and aud."
	case c.Token.SecretFile == "" && c.Audience == "":
		finding.Detail = what + " accepts tokens that their issuer made for other services: no audience is set"
		finding.Remedy = "Set audience to what whoever issues the tokens puts into aud for this service."
	default:
		finding.OK, finding.Detail = true, what+" accepts tokens of its own issuer or audience"
	}
	return []credential.Finding{finding}
}
