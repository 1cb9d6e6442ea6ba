/* ammpl_version.h - version numbers and the export macro.
 *
 *   building libammpl as a shared library   AMMPL_BUILDING is defined, symbols get default visibility
 *   using it                                nothing needs to be defined
 */
#ifndef AMMPL_AMMPL_VERSION_H
#define AMMPL_AMMPL_VERSION_H

#define AMMPL_VERSION_MAJOR 0
#define AMMPL_VERSION_MINOR 2
#define AMMPL_VERSION_PATCH 0
#define AMMPL_VERSION_STRING "0.2.0"
/* MAJOR*1000000 + MINOR*1000 + PATCH */
#define AMMPL_VERSION_NUMBER 2000

#if defined(AMMPL_BUILDING) && defined(__GNUC__)
#define AMMPL_API __attribute__((visibility("default")))
#else
#define AMMPL_API
#endif

#if defined(__GNUC__)
#define AMMPL_NODISCARD __attribute__((warn_unused_result))
#else
#define AMMPL_NODISCARD
#endif

#endif /* AMMPL_AMMPL_VERSION_H */
