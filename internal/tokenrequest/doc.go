// Package tokenrequest talks to token endpoints (RFC 6749 section 3.2), and to the
// other endpoints of an authorization server that tokens are sent to.
//
// A refresh token or a code can often be spent only once, so each step can be told
// apart, and says what it means for the token:
//
//	[RefreshRequest]           makes the request, the client's authentication included
//	[Dialer].Dial              brings the connection up; nothing is sent
//	[Conn].Send                sends the request once, and waits for the answer
//	[Response.MarshalBinary]   writes the answer down as it came
//	[Response.TokenResponse]   reads it: tokens, or an [Error]
//
// [Do] dials and sends where nothing has to happen in between.
package tokenrequest
