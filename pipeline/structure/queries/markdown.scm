(section (atx_heading heading_content: (inline) @name)) @section
(setext_heading heading_content: (paragraph (inline) @name)) @section
