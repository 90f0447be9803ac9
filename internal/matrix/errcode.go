package matrix

// ErrCode is the errcode of an error answer.
type ErrCode string

// Codes that every endpoint may answer with.
//
// Spec: client-server v1.19 §common-error-codes
const (
	// Request contained valid JSON, but it was malformed in some way, e.g. missing required keys, invalid values for
	// keys.
	ErrBadJSON ErrCode = "M_BAD_JSON"

	// Forbidden access, e.g. joining a room without permission, failed login.
	ErrForbidden ErrCode = "M_FORBIDDEN"

	// Too many requests have been sent in a short period of time. Wait a while then try again. See Rate limiting.
	ErrLimitExceeded ErrCode = "M_LIMIT_EXCEEDED"

	// No access token was specified for the request.
	ErrMissingToken ErrCode = "M_MISSING_TOKEN"

	// No resource was found for this request.
	ErrNotFound ErrCode = "M_NOT_FOUND"

	// Request did not contain valid JSON.
	ErrNotJSON ErrCode = "M_NOT_JSON"

	// The request cannot be completed because the homeserver has reached a resource limit imposed on it. For
	// example, a homeserver held in a shared hosting environment may reach a resource limit if it starts using too
	// much memory or disk space. The error MUST have an admin_contact field to provide the user receiving the error
	// a place to reach out to. Typically, this error will appear on routes which attempt to modify state (e.g.:
	// sending messages, account data, etc) and not routes which only read state (e.g.: /sync,
	// /user/{userId}/account_data/{type}, etc).
	ErrResourceLimitExceeded ErrCode = "M_RESOURCE_LIMIT_EXCEEDED"

	// An unknown error has occurred.
	ErrUnknown ErrCode = "M_UNKNOWN"

	// The device ID supplied by the application service does not belong to the user ID during identity assertion.
	ErrUnknownDevice ErrCode = "M_UNKNOWN_DEVICE"

	// The access or refresh token specified was not recognised.
	ErrUnknownToken ErrCode = "M_UNKNOWN_TOKEN"

	// The server did not understand the request. This is expected to be returned with a 404 HTTP status code if the
	// endpoint is not implemented or a 405 HTTP status code if the endpoint is implemented, but the incorrect HTTP
	// method is used.
	ErrUnrecognized ErrCode = "M_UNRECOGNIZED"

	// The request cannot be completed because the user has exceeded (or the request would cause them to exceed) a
	// limit associated with their account. For example, a user may have reached their allocated storage quota,
	// reached a maximum number of allowed rooms, devices, or other account-scoped resources, or exceeded usage
	// limits for specific features.
	ErrUserLimitExceeded ErrCode = "M_USER_LIMIT_EXCEEDED"

	// The account has been locked and cannot be used at this time.
	ErrUserLocked ErrCode = "M_USER_LOCKED"

	// The account has been suspended and can only be used for limited actions at this time.
	ErrUserSuspended ErrCode = "M_USER_SUSPENDED"
)

// Codes that belong to certain endpoints.
//
// Spec: client-server v1.19 §other-error-codes
const (
	// The state change requested cannot be performed, such as attempting to unban a user who is not banned.
	ErrBadState ErrCode = "M_BAD_STATE"

	// The user is unable to reject an invite to join the server notices room. See the Server Notices module for more
	// information.
	ErrCannotLeaveServerNoticeRoom ErrCode = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"

	// The Captcha provided did not match what was expected.
	ErrCaptchaInvalid ErrCode = "M_CAPTCHA_INVALID"

	// A Captcha is required to complete the request.
	ErrCaptchaNeeded ErrCode = "M_CAPTCHA_NEEDED"

	// The resource being requested is reserved by an application service, or the application service making the
	// request has not created the resource.
	ErrExclusive ErrCode = "M_EXCLUSIVE"

	// The room or resource does not permit guests to access it.
	ErrGuestAccessForbidden ErrCode = "M_GUEST_ACCESS_FORBIDDEN"

	// The client attempted to join a room that has a version the server does not support. Inspect the room_version
	// property of the error response for the room's version.
	ErrIncompatibleRoomVersion ErrCode = "M_INCOMPATIBLE_ROOM_VERSION"

	// A parameter that was specified has the wrong value. For example, the server expected an integer and instead
	// received a string.
	ErrInvalidParam ErrCode = "M_INVALID_PARAM"

	// Sent when the initial state given to the createRoom API is invalid.
	ErrInvalidRoomState ErrCode = "M_INVALID_ROOM_STATE"

	// Encountered when trying to register a user ID which is not valid.
	ErrInvalidUsername ErrCode = "M_INVALID_USERNAME"

	// A required parameter was missing from the request.
	ErrMissingParam ErrCode = "M_MISSING_PARAM"

	// Sent when the room alias given to the createRoom API is already in use.
	ErrRoomInUse ErrCode = "M_ROOM_IN_USE"

	// The client's request used a third-party server, e.g. identity server, that this server does not trust.
	ErrServerNotTrusted ErrCode = "M_SERVER_NOT_TRUSTED"

	// Authentication could not be performed on the third-party identifier.
	ErrThreepidAuthFailed ErrCode = "M_THREEPID_AUTH_FAILED"

	// The server does not permit this third-party identifier. This may happen if the server only permits, for
	// example, email addresses from a particular domain.
	ErrThreepidDenied ErrCode = "M_THREEPID_DENIED"

	// The third party identifier specified by the client is not acceptable because it is already in use in some way.
	ErrThreepidInUse ErrCode = "M_THREEPID_IN_USE"

	// The homeserver does not support adding a third party identifier of the given medium.
	ErrThreepidMediumNotSupported ErrCode = "M_THREEPID_MEDIUM_NOT_SUPPORTED"

	// Sent when a threepid given to an API cannot be used because no record matching the threepid was found.
	ErrThreepidNotFound ErrCode = "M_THREEPID_NOT_FOUND"

	// The request or entity was too large.
	ErrTooLarge ErrCode = "M_TOO_LARGE"

	// The request was not correctly authorised. Usually due to login failures.
	ErrUnauthorized ErrCode = "M_UNAUTHORIZED"

	// The client's request to create a room used a room version that the server does not support.
	ErrUnsupportedRoomVersion ErrCode = "M_UNSUPPORTED_ROOM_VERSION"

	// The user ID associated with the request has been deactivated. Typically for endpoints that prove
	// authentication, such as /login.
	ErrUserDeactivated ErrCode = "M_USER_DEACTIVATED"

	// Encountered when trying to register a user ID which has been taken.
	ErrUserInUse ErrCode = "M_USER_IN_USE"
)

// Codes that are described only beside the endpoint that answers with them.
const (
	// The application service tried to log in or register in a way that the server reserves for other users.
	ErrAppserviceLoginUnsupported ErrCode = "M_APPSERVICE_LOGIN_UNSUPPORTED"

	// One or more aliases within the m.room.canonical_alias event do not point to the room ID for which the state
	// event is to be sent to.
	ErrBadAlias ErrCode = "M_BAD_ALIAS"

	// The application service answered a ping with a status that is not one of success.
	ErrBadStatus ErrCode = "M_BAD_STATUS"

	// The media has already been uploaded.
	ErrCannotOverwriteMedia ErrCode = "M_CANNOT_OVERWRITE_MEDIA"

	// The connection to the application service could not be established.
	ErrConnectionFailed ErrCode = "M_CONNECTION_FAILED"

	// The application service did not answer in time.
	ErrConnectionTimeout ErrCode = "M_CONNECTION_TIMEOUT"

	// The client has already sent an annotation of this kind for this event.
	ErrDuplicateAnnotation ErrCode = "M_DUPLICATE_ANNOTATION"

	// The third-party address is not valid.
	ErrInvalidAddress ErrCode = "M_INVALID_ADDRESS"

	// The e-mail address is not valid.
	ErrInvalidEmail ErrCode = "M_INVALID_EMAIL"

	// The pepper of a lookup is not, or no longer, the server's.
	ErrInvalidPepper ErrCode = "M_INVALID_PEPPER"

	// A key was uploaded with a signature that does not verify.
	ErrInvalidSignature ErrCode = "M_INVALID_SIGNATURE"

	// The invited user has refused invites of this kind in their settings.
	ErrInviteBlocked ErrCode = "M_INVITE_BLOCKED"

	// The name of a profile field is longer than 255 bytes.
	ErrKeyTooLarge ErrCode = "M_KEY_TOO_LARGE"

	// The content is not there yet: it was reserved and will be uploaded.
	ErrNotYetUploaded ErrCode = "M_NOT_YET_UPLOADED"

	// The profile would be larger than 64 KiB.
	ErrProfileTooLarge ErrCode = "M_PROFILE_TOO_LARGE"

	// No validation was found that has the given sid and client_secret.
	ErrNoValidSession ErrCode = "M_NO_VALID_SESSION"

	// The validation has expired: another code has to be asked for.
	ErrSessionExpired ErrCode = "M_SESSION_EXPIRED"

	// The code of a validation has not been given yet.
	ErrSessionNotValidated ErrCode = "M_SESSION_NOT_VALIDATED"

	// The code that was given to validate an address is wrong.
	ErrTokenIncorrect ErrCode = "M_TOKEN_INCORRECT"

	// The position of a sliding sync connection is not known, or no longer (MSC4186): the client has to start afresh.
	ErrUnknownPos ErrCode = "M_UNKNOWN_POS"

	// The application service has no URL set.
	ErrURLNotSet ErrCode = "M_URL_NOT_SET"

	// The password does not satisfy the server's policy.
	ErrWeakPassword ErrCode = "M_WEAK_PASSWORD"

	// The keys were sent for a backup version that is not the current one.
	ErrWrongRoomKeysVersion ErrCode = "M_WRONG_ROOM_KEYS_VERSION"
)
