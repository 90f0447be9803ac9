package limits

import "time"

// Media. How large a file may be, and how much there may be, is in the configuration (media).
const (
	// MediaPerEvent bounds the media that hang on one event: what an event of 64 KiB can name in earnest, such as a pack of stickers.
	MediaPerEvent = 200

	// MediaLinks is how many of the events on which media hangs are looked at to find whether somebody may see it; those in rooms that
	// the asker knows come first.
	MediaLinks = 200

	// MediaAnnounced bounds what a user has announced (POST create) and not uploaded.
	MediaAnnounced = 100

	// MediaAnnouncedFor is how long an announced upload is waited for: the figure that the spec recommends.
	MediaAnnouncedFor = 24 * time.Hour

	// MediaWait is the longest that a download waits for content that is announced; set by the spec: clients ask for 20 s by default.
	MediaWait = time.Minute

	// UploadIdle is how long the body of an upload may stand still, UploadTime how long it may take in all.
	UploadIdle = 30 * time.Second
	UploadTime = 2 * time.Hour

	// FileName bounds the name of an uploaded file, ContentType its type.
	FileName    = 255
	ContentType = 255

	// RoomMediaListed is how much media of a room an administrator is shown: the form of the answer has no pages.
	RoomMediaListed = 100_000

	// AdminDeletions is how many events an administrator deletes with one request, AdminDeletionTime how long that may take: the client asks
	// again for the rest.
	AdminDeletions    = 1000
	AdminDeletionTime = 20 * time.Second

	// MediaPresumed is for how long after an upload every encrypted event of the same device is presumed to name it. Clients send the event
	// as soon as the file is there; what they send later names it only if nothing was sent before.
	MediaPresumed = 10 * time.Second

	// MediaSkew is how far the clocks of two processes may be apart: an event is not presumed to name what was uploaded after it.
	MediaSkew = time.Second
)

// Stores of media, and the virus scanner.
const (
	// SmallUpload is up to where a file is taken into memory before it goes to the store: it is hashed once then, and sent again when a
	// connection breaks. SmallUploads bounds how many are at a time; those beyond it stream, as larger ones do.
	SmallUpload  = 1 << 20
	SmallUploads = 32

	// UploadPart is how an upload of unknown size is cut: the least that S3 takes. Each such upload needs as much memory.
	UploadPart = 5 << 20

	// UnsizedUploads bounds the uploads of unknown size that a process sends to S3 at a time, UnsizedWait how long one waits for its turn.
	// Clients know the size of what they upload, as a rule.
	UnsizedUploads = 8
	UnsizedWait    = 30 * time.Second

	// StoreStall is how long a store may take or send nothing.
	StoreStall = 30 * time.Second

	// ScanAnswer is how long a virus scanner may take over a file that it has: archives take longest.
	ScanAnswer = 2 * time.Minute
)

// Pictures that thumbnails are made of (mediaapi/thumbnail).
const (
	// ThumbnailPixels bounds a picture, ThumbnailSide each of its sides, which is the most that a JPEG can say. Phones that make
	// larger pictures make them rarely; the original stays to be had.
	ThumbnailPixels = 32 << 20
	ThumbnailSide   = 65_535

	// ThumbnailSource bounds the bytes of a picture: more than the largest picture that is allowed has as PNG, most of the time.
	ThumbnailSource = 64 << 20

	// ThumbnailHeader is how far into a file its size in pixels is looked for. Colour profiles and maps stand before it.
	ThumbnailHeader = 1 << 20

	// ThumbnailFrames and ThumbnailFramePixels bound an animation: its frames, and the pixels of all frames together.
	ThumbnailFrames      = 1000
	ThumbnailFramePixels = 48 << 20

	// ThumbnailMemory bounds the memory that all pictures take that are being decoded at one time; a picture that takes more is
	// decoded alone. ThumbnailMemoryEach bounds that: a progressive JPEG takes five times what another does.
	ThumbnailMemory     = 96 << 20
	ThumbnailMemoryEach = 192 << 20

	// ThumbnailTime bounds reading and decoding of one picture, without the wait for its turn. The largest takes some seconds.
	ThumbnailTime = 20 * time.Second
)

// Previews of pages (mediaapi/preview).
const (
	// PreviewURL bounds the URL of a page or picture; browsers and servers agree on about this much.
	PreviewURL = 4 << 10

	// PreviewTime bounds all that is fetched for one preview. A client that waits for longer has scrolled on.
	PreviewTime = 10 * time.Second

	// PreviewRedirects is how many redirects each fetch follows.
	PreviewRedirects = 5

	// PreviewPage bounds what is read of a page after decompression; what matters is in its head. PreviewOEmbed bounds the answer of
	// an oEmbed provider, PreviewImage a picture.
	PreviewPage   = 1 << 20
	PreviewOEmbed = 256 << 10
	PreviewImage  = 10 << 20

	// PreviewParallel is how many previews are fetched at one time: each may hold a picture.
	PreviewParallel = 16

	// PreviewTitle, PreviewText and PreviewName bound what is told, in characters: a line, a paragraph, a name.
	PreviewTitle = 300
	PreviewText  = 1000
	PreviewName  = 100

	// PreviewLanguage bounds the Accept-Language that a client wants to be sent on.
	PreviewLanguage = 200

	// PreviewKept is how long a preview is good when the page does not say; PreviewKeptMin and PreviewKeptMax bound what pages say.
	PreviewKept    = time.Hour
	PreviewKeptMin = 5 * time.Minute
	PreviewKeptMax = 24 * time.Hour
)
